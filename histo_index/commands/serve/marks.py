"""Export what people marked on the page."""

from pathlib import Path
from typing import Annotated

import typer

from histo_index.commands.options import IndexOption, JsonOption, OverwriteOption, require_index
from histo_index.commands.output import print_result
from histo_index.wording import counted

app = typer.Typer()


@app.command(epilog="Example: histo-index marks -i tiles.hx --pairs marked.csv")
def marks(
    index: IndexOption = None,
    pairs: Annotated[
        Path | None,
        typer.Option("--pairs", help="Write marked pairs: a CSV, TSV, Parquet or JSON lines file."),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="Write the labels of tiles to such a file.")
    ] = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Count and export the marks that people made on the page of `serve`."""
    from histo_index.commands.result_files import check_output, write_table
    from histo_index.indexer.reader import OpenIndex
    from histo_index.search.marks.table import label_table, pair_table

    opened = OpenIndex(require_index(index))
    for path in (pairs, labels):
        check_output(path, overwrite=overwrite)
    for path, make in ((pairs, pair_table), (labels, label_table)):
        if path is not None:
            write_table(make(opened), path)
    print_result(_describe(opened.folder, as_json=as_json))


def _describe(folder: Path, *, as_json: bool) -> dict[str, object] | str:
    from histo_index.search.marks.collect import collect
    from histo_index.search.marks.file import read_marks

    found = collect(read_marks(folder))
    facts = {
        "pairs": len(found.agreed()),
        "labels": len(found.labels),
        "disagreements": len(found.disagreements()),
        "damaged": found.damaged,
    }
    if as_json:
        return {"index": folder, **facts}
    return (
        f"{folder}: {counted(facts['pairs'], 'marked pair')}, "
        f"{counted(facts['labels'], 'labelled tile')}, "
        f"{counted(facts['disagreements'], 'disagreement')}, "
        f"{counted(facts['damaged'], 'damaged line')}"
    )
