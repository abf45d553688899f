"""Make the map of an index."""

from typing import TYPE_CHECKING, Annotated

import typer

from histo_index.commands.options import IndexOption, JsonOption, OverwriteOption, require_index
from histo_index.commands.output import print_result
from histo_index.wording import counted, printable

if TYPE_CHECKING:
    from histo_index.api.maps.make import MapReport
    from histo_index.search.maps.make import MapConfig

app = typer.Typer()


@app.command("map", epilog="Example: histo-index map -i tiles.hx")
def make_map(
    index: IndexOption = None,
    perplexity: Annotated[
        float | None,
        typer.Option(
            "--perplexity", help="Neighbours that each tile is laid out by (default: 30)."
        ),
    ] = None,
    most: Annotated[
        int | None,
        typer.Option(
            "--most",
            help="Tiles laid out; further ones are placed by their neighbours (default: 100000).",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Seed of the layout (default: 0).")
    ] = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Lay tiles out on a plane, those that look alike together, for the page of `serve`."""
    from histo_index.api.maps.make import update_map

    given = {"perplexity": perplexity, "most": most, "seed": seed}
    report = update_map(require_index(index), _configure(given), overwrite=overwrite)
    print_result(report if as_json else describe_map(report))


def _configure(given: "dict[str, float | int | None]") -> "MapConfig | None":
    from histo_index.search.maps.make import MapConfig

    options = {name: value for name, value in given.items() if value is not None}
    return MapConfig(**options) if options else None  # type: ignore[arg-type]


def describe_map(report: "MapReport") -> str:
    """Format the result of `map`."""
    laid = report.tiles - report.placed
    when = "" if report.is_new else f", at generation {report.generation}"
    return "\n".join(
        [
            f"{printable(report.index)}: {counted(report.tiles, 'different tile')} on the map",
            f"  laid out  {laid:,} by {report.method}, perplexity {report.perplexity:g}, "
            f"seed {report.seed}{when}",
            f"  placed    {report.placed:,} by their neighbours",
            f"  see it    histo-index serve -i {printable(report.index)}",
        ]
    )
