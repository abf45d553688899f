"""Export an index for other programs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from histo_index.commands.options import (
    IndexOption,
    JsonOption,
    OverwriteOption,
    PrivateOption,
    TilesOption,
    require_index,
)
from histo_index.commands.output import print_result
from histo_index.wording import counted, printable

if TYPE_CHECKING:
    from histo_index.api.features.export import ExportReport

app = typer.Typer()


@app.command(epilog="Example: histo-index export -i tiles.hx -o tiles.h5ad")
def export(
    output: Annotated[Path, typer.Option("--output", "-o", help="A .h5ad, .parquet or .npy file.")],
    index: IndexOption = None,
    atlas: Annotated[
        bool,
        typer.Option("--atlas", help="Write a Parquet for embedding-atlas, without embeddings."),
    ] = False,
    private: PrivateOption = False,
    tiles: TilesOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Export tiles and embeddings to AnnData, Parquet, NumPy, or for embedding-atlas."""
    from histo_index.api.features.export import SUFFIXES
    from histo_index.api.features.export import export as export_index
    from histo_index.commands.result_files import check_output

    check_output(output, overwrite=overwrite, suffixes=SUFFIXES)
    if output.suffix.lower() == ".npy":
        check_output(output.with_suffix(".csv"), overwrite=overwrite)
    report = export_index(require_index(index), output, atlas=atlas, private=private, tiles=tiles)
    print_result(report if as_json else describe_export(report))


def describe_export(report: "ExportReport") -> str:
    """Format the result of an export, with the command that opens it."""
    hidden = f"; {counted(report.hidden, 'private column')} left out" if report.hidden else ""
    lines = [
        f"{printable(report.file)}: {counted(report.tiles, 'tile')}",
        f"  columns   {printable(', '.join(report.columns))}{hidden}",
    ]
    if report.images is not None:
        lines += [
            f"  images    {report.images:,} of {counted(report.tiles, 'tile')}",
            f"  open      embedding-atlas {printable(report.file)} --x map_x --y map_y "
            "--neighbors neighbors",
        ]
    return "\n".join(lines)
