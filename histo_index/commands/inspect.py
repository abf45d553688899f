"""Inspect a whole index: duplicates, outliers, close pairs."""

from pathlib import Path
from typing import Annotated

import typer

from histo_index.commands.options import (
    IndexOption,
    JsonOption,
    MontageOption,
    OutputOption,
    OverwriteOption,
    PrivateOption,
    TilesOption,
    require_index,
)
from histo_index.commands.output import print_result, table_text
from histo_index.wording import counted

app = typer.Typer()


@app.command(epilog="Example: histo-index duplicates -i tiles.hx -o copies.csv")
def duplicates(
    index: IndexOption = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            help="Largest plain distance (default: 20 % of the median; 1 % without the files).",
        ),
    ] = None,
    output: OutputOption = None,
    montage: MontageOption = None,
    tiles: TilesOption = None,
    private: PrivateOption = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Find groups of copies: equal files, and tiles that are saved again or scaled."""
    from histo_index.api.index import open as open_index
    from histo_index.commands import result_files
    from histo_index.search.answers.duplicates import as_neighbours

    result_files.check_answer_files(output, montage, None, overwrite=overwrite)
    opened = open_index(require_index(index), private=private)
    table = opened.duplicates(threshold=threshold, tiles=tiles)
    if montage is not None:
        opened.draw(*as_neighbours(table), montage, tiles=tiles, heading="first")
    if output is not None:
        result_files.write_table(table, output)
    rows = table.to_pylist()
    print_result(rows if as_json else table_text(rows, nothing="no duplicates"))


@app.command(epilog="Example: histo-index outliers -n 20 -i tiles.hx")
def outliers(
    count: Annotated[int, typer.Option("-n", min=1, help="Number of tiles.")] = 20,
    index: IndexOption = None,
    output: OutputOption = None,
    private: PrivateOption = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """List the tiles furthest from their nearest neighbour."""
    from histo_index.api.index import open as open_index
    from histo_index.commands import result_files

    result_files.check_output(output, overwrite=overwrite)
    table = open_index(require_index(index), private=private).outliers(count=count)
    if output is not None:
        result_files.write_table(table, output)
    rows = table.to_pylist()
    print_result(rows if as_json else table_text(rows))


@app.command(epilog="Example: histo-index close-pairs --threshold 0.05 -o pairs.parquet")
def close_pairs(
    threshold: Annotated[float, typer.Option("--threshold", help="Largest distance.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="A Parquet file.")],
    index: IndexOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write all pairs of tiles within a distance to a Parquet file."""
    from histo_index.api.index import open as open_index
    from histo_index.commands import result_files

    result_files.check_output(output, overwrite=overwrite, suffixes=(".parquet",))
    count = open_index(require_index(index)).close_pairs(threshold, output)
    facts = {"pairs": count, "threshold": threshold, "output": output}
    print_result(
        facts if as_json else f"{output}: {counted(count, 'pair')} at most {threshold:g} apart"
    )
