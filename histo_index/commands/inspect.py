"""Look over a whole index: what is there more than once, what is like nothing else."""

from pathlib import Path
from typing import Annotated

import typer

from histo_index.commands.options import IndexOption, JsonOption, OverwriteOption, PrivateOption
from histo_index.commands.output import print_result, require_index, table_text
from histo_index.wording import counted

surveys = typer.Typer()

OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", help="Write CSV, TSV, Parquet or JSON lines.")
]
MontageOption = Annotated[Path | None, typer.Option("--montage", help="Draw them as a PNG.")]
TilesOption = Annotated[
    Path | None, typer.Option("--tiles", help="Where the tiles lie now, for the montage.")
]


@surveys.command(epilog="Example: histo-index duplicates -i tiles.hx -o copies.csv")
def duplicates(
    index: IndexOption = None,
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", help="Distance of near-copies; else 1 % of the usual one."),
    ] = None,
    output: OutputOption = None,
    montage: MontageOption = None,
    tiles: TilesOption = None,
    private: PrivateOption = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Find groups of tiles that show the same: equal files and near-copies."""
    from histo_index.api import index as api
    from histo_index.commands import result_files
    from histo_index.search.answers.duplicates import as_neighbours

    result_files.check_output(output, overwrite=overwrite)
    result_files.check_output(montage, overwrite=overwrite, suffixes=(".png",))
    opened = api.open(require_index(index), private=private)
    table = opened.duplicates(threshold=threshold)
    if montage is not None:
        opened.draw(*as_neighbours(table), montage, tiles=tiles)
    if output is not None:
        result_files.write_table(table, output)
    rows = table.to_pylist()
    print_result(rows if as_json else table_text(rows, nothing="no duplicates"))


@surveys.command(epilog="Example: histo-index outliers -n 20 -i tiles.hx")
def outliers(
    count: Annotated[int, typer.Option("-n", min=1, help="How many.")] = 20,
    index: IndexOption = None,
    output: OutputOption = None,
    private: PrivateOption = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Find the tiles least like anything: furthest from their nearest neighbour."""
    from histo_index.api import index as api
    from histo_index.commands import result_files

    result_files.check_output(output, overwrite=overwrite)
    table = api.open(require_index(index), private=private).outliers(count=count)
    if output is not None:
        result_files.write_table(table, output)
    rows = table.to_pylist()
    print_result(rows if as_json else table_text(rows))


@surveys.command(epilog="Example: histo-index close-pairs --threshold 0.05 -o pairs.parquet")
def close_pairs(
    threshold: Annotated[float, typer.Option("--threshold", help="Distance at most.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="A Parquet file.")],
    index: IndexOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write every pair of tiles closer than a threshold, as a stream to Parquet."""
    from histo_index.api import index as api
    from histo_index.commands import result_files

    result_files.check_output(output, overwrite=overwrite, suffixes=(".parquet",))
    count = api.open(require_index(index)).close_pairs(threshold, output)
    facts = {"pairs": count, "threshold": threshold, "output": output}
    print_result(
        facts if as_json else f"{output}: {counted(count, 'pair')} at most {threshold:g} apart"
    )
