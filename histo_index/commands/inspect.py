"""Inspect tiles: their classes, and in a whole index duplicates, outliers and close pairs."""

from pathlib import Path
from typing import Annotated

import typer

from histo_index.commands.answers.classes import describe_classes
from histo_index.commands.options import (
    AnyMppOption,
    BatchOption,
    DeviceOption,
    ImagesArgument,
    IndexOption,
    JsonOption,
    MontageOption,
    OutputOption,
    OverwriteOption,
    PrivateOption,
    QueryMppOption,
    TilesOption,
    ValuesOption,
    read_values,
    require_index,
)
from histo_index.commands.output import (
    REJECTED_EXIT,
    exit_if,
    print_result,
    table_text,
)
from histo_index.wording import counted

app = typer.Typer()


@app.command(epilog="Example: histo-index duplicates -i tiles.hx -o copies.csv")
def duplicates(
    index: IndexOption = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            help="Largest plain distance (default: any; without the files 1 % of the median).",
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


@app.command(epilog="Example: histo-index classify a.png b.png -o classes.csv -i tiles.hx")
def classify(
    images: ImagesArgument = None,
    batch: BatchOption = None,
    index: IndexOption = None,
    output: OutputOption = None,
    values: ValuesOption = None,
    private: PrivateOption = False,
    device: DeviceOption = "auto",
    query_mpp: QueryMppOption = None,
    any_mpp: AnyMppOption = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compute how likely each image is of each class that was calibrated."""
    from histo_index.api.index import open as open_index
    from histo_index.commands import result_files
    from histo_index.search.classification.table import class_rows
    from histo_index.search.inputs.name_list import gather_names

    names = gather_names(images or [], batch)
    result_files.check_output(output, overwrite=overwrite)
    opened = open_index(
        require_index(index), device=device, private=private, query_mpp=query_mpp, any_mpp=any_mpp
    )
    found = opened.classify_each(names, read_values(values or ()))
    rows = class_rows(names, found)
    if output is not None:
        result_files.write_rows(rows, output, columns=list(rows[0]))
    print_result(rows if as_json else describe_classes(names, found))
    exit_if(any(row["status"] == "error" for row in rows), REJECTED_EXIT)
