"""What a number of tiles takes, and where one machine ends."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from histo_index.commands.options import DeviceOption, JsonOption
from histo_index.commands.output import duration_text, print_result, size_text, table_text
from histo_index.wording import counted

if TYPE_CHECKING:
    from histo_index.cluster.planning.plan import Item, Plan

app = typer.Typer()

_DAY_S: Final = 86_400


@app.command(epilog="Example: histo-index plan --tiles 1e9 --rate 3000 --workers 8")
def plan(
    tiles: Annotated[float, typer.Option("--tiles", help="Number of tiles, such as 1e9.")],
    encoder: Annotated[
        Path | None, typer.Option("--encoder", help="Encoder folder (default: the bundled one).")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option("--rate", help="Tiles/s of one worker (default: measured on this machine)."),
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Workers that encode, such as GPUs.")
    ] = 1,
    tile_kb: Annotated[float, typer.Option("--tile-kb", help="Size of an image file.")] = 30,
    machine_gb: Annotated[
        float, typer.Option("--machine-gb", help="Memory of a machine that searches.")
    ] = 64,
    hour_price: Annotated[
        float | None, typer.Option("--hour-price", help="Price of an hour of a worker.")
    ] = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Plan time, storage, memory and machines for a number of tiles."""
    from histo_index.api.cluster.plan import plan as make_plan

    made = make_plan(
        tiles, encoder=encoder, device=device, tiles_per_second=rate, workers=workers,
        tile_bytes=1000 * tile_kb, machine_bytes=1e9 * machine_gb, hour_price=hour_price,
    )  # fmt: skip
    print_result(made if as_json else describe_plan(made))


def describe_plan(made: "Plan") -> str:
    """Format a plan: a table, then where one machine ends."""
    rows = [
        {"": item.name, "how much": amount_text(item), "origin": item.origin, "note": item.note}
        for item in made.items
    ]
    return "\n".join([table_text(rows), f"\nsearched by: {made.structure}", *made.advice])


def amount_text(item: "Item") -> str:
    """Format how much is needed, in the unit of an item."""
    if item.unit == "bytes":
        return _bytes_text(item.value)
    if item.unit == "s":
        return _time_text(item.value)
    if item.unit == "price":
        return f"{item.value:,.0f}"
    if item.unit == "machines":
        return counted(int(item.value), "machine")
    return f"{item.value:,.1f} {item.unit}"


def _bytes_text(value: float) -> str:
    return f"{value / 1e12:,.1f} TB" if value >= 1e12 else size_text(int(value))


def _time_text(seconds: float) -> str:
    return f"{seconds / _DAY_S:,.1f} days" if seconds >= 2 * _DAY_S else duration_text(seconds)
