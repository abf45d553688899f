"""Ask an index: one pair, a list of pairs, what else looks like this."""

from pathlib import Path
from typing import Annotated

import typer

from histo_index.commands.options import (
    DeviceOption,
    IndexOption,
    JsonOption,
    OverwriteOption,
    PrivateOption,
    ReportNamesOption,
    ReportOption,
    ThresholdOption,
    TilesOption,
    UnsureOption,
)
from histo_index.commands.outcome import (
    REJECTED_EXIT,
    exit_if,
    fail,
    find_index,
    print_result,
    require_index,
)

questions = typer.Typer()

DIFFERENT_EXIT = 10
UNSURE_EXIT = 11


@questions.command(epilog="Example: histo-index pair a.png b.png -i tiles.hx")
def pair(
    image_a: Annotated[str, typer.Argument(help="A file, or an image id or path in the index.")],
    image_b: Annotated[str, typer.Argument(help="Likewise.")],
    index: IndexOption = None,
    encoder: Annotated[
        Path | None, typer.Option("--encoder", help="Compare without an index, by this encoder.")
    ] = None,
    threshold: ThresholdOption = None,
    unsure: UnsureOption = None,
    report: ReportOption = None,
    report_names: ReportNamesOption = False,
    tiles: TilesOption = None,
    device: DeviceOption = "auto",
    exit_status: Annotated[
        bool, typer.Option("--exit-status", help="Exit 0 same, 10 different, 11 unsure.")
    ] = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Tell whether two images are of the same tissue category. A file comes before its name."""
    from histo_index import api, terminal
    from histo_index.search import writing

    if encoder and (index or report):
        fail("--encoder excludes --index and --report: a report shows tiles of an index", 2)
    writing.check_output(report, overwrite=overwrite, suffixes=(".html",))
    folder = require_index(index) if report else None if encoder else find_index(index)
    if folder is None:
        answer = api.compare(image_a, image_b, encoder=encoder, threshold=threshold, device=device)
    else:
        opened = api.open(folder, device=device)
        answer = opened.pair(image_a, image_b, threshold=threshold, unsure=unsure)
        if report is not None:
            opened.report(
                answer, report, images=[image_a, image_b], tiles=tiles, names=report_names
            )
    print_result(answer.as_dict() if as_json else terminal.describe_pair(answer))
    codes = {"same": 0, "different": DIFFERENT_EXIT, "unsure": UNSURE_EXIT}
    exit_if(exit_status, codes[answer.verdict.value])


@questions.command(epilog="Example: histo-index pairs pairs.csv -o answers.csv -i tiles.hx")
def pairs(
    pair_list: Annotated[str, typer.Argument(metavar="LIST", help="CSV, TSV, Parquet, or -.")],
    output: Annotated[
        str, typer.Option("--output", "-o", help="CSV, TSV, Parquet or JSON lines file, or -.")
    ] = "-",
    index: IndexOption = None,
    threshold: ThresholdOption = None,
    unsure: UnsureOption = None,
    root: Annotated[
        Path, typer.Option("--root", help="Folder that names of unseen images start from.")
    ] = Path(),
    form: Annotated[
        str, typer.Option("--format", help="table, or query-prediction as the reference writes.")
    ] = "table",
    device: DeviceOption = "auto",
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Score a list of pairs; one row out per row in. Names in the index come before files."""
    from histo_index import api, terminal
    from histo_index.search import writing

    target = None if output == "-" else Path(output)
    writing.check_output(target, overwrite=overwrite)
    writing.check_form(form)
    scores = api.open(require_index(index), device=device).pairs(
        pair_list, threshold=threshold, unsure=unsure, root=root
    )
    is_document = as_json and target is None
    if not is_document:
        writing.write_scores(scores, target, form=form)
    document = terminal.pairs_document(scores, with_rows=is_document)
    print_result(
        document if as_json else terminal.describe_pairs(scores),
        to_stderr=target is None and not as_json,
    )
    exit_if(scores.answered < scores.pairs, REJECTED_EXIT)


@questions.command(epilog="Example: histo-index search a.png -k 5 --montage out.png -i tiles.hx")
def search(
    images: Annotated[
        list[str] | None, typer.Argument(help="Files, or image ids or paths in the index.")
    ] = None,
    batch: Annotated[
        Path | None, typer.Option("--batch", help="A list of more: .txt, CSV, TSV or Parquet.")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many neighbours.")] = 10,
    index: IndexOption = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write CSV, TSV, Parquet or JSON lines.")
    ] = None,
    montage: Annotated[
        Path | None, typer.Option("--montage", help="Draw queries and neighbours as a PNG.")
    ] = None,
    report: ReportOption = None,
    report_names: ReportNamesOption = False,
    tiles: TilesOption = None,
    exclude_self: Annotated[
        bool, typer.Option("--exclude-self/--include-self", help="Leave out the query itself.")
    ] = True,
    where: Annotated[
        str | None, typer.Option("--where", help="SQL over columns: \"site = 'A' and mpp < 0.6\".")
    ] = None,
    exclude_same: Annotated[
        list[str] | None,
        typer.Option("--exclude-same", help="Column whose value must differ; repeatable."),
    ] = None,
    near_duplicates: Annotated[
        str, typer.Option("--near-duplicates", help="keep, or drop.")
    ] = "keep",
    private: PrivateOption = False,
    device: DeviceOption = "auto",
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Find the tiles that look most like each image."""
    from histo_index import api, searching, terminal
    from histo_index.search import querylist, writing

    names = querylist.gather_names(images or [], batch)
    outputs = (output, writing.OUTPUT_SUFFIXES), (montage, (".png",)), (report, (".html",))
    writing.check_outputs(outputs, overwrite=overwrite)
    opened = api.open(require_index(index), device=device, private=private)
    ask = opened.search_each if batch else opened.search
    found = ask(
        names, k=k, exclude_self=exclude_self, where=where, exclude_same=exclude_same or (),
        near_duplicates=near_duplicates,
    )  # fmt: skip
    rows = terminal.neighbour_rows(names, found, with_status=batch is not None)
    asked, shown = querylist.answered(names, found)
    searching.show(
        opened, asked, shown, montage=montage, report=report, tiles=tiles, names=report_names
    )
    if output is not None:
        writing.write_rows(rows, output, columns=terminal.NEIGHBOUR_COLUMNS)
    print_result(rows if as_json else terminal.table_text(rows))
    exit_if(batch and len(asked) < len(names), REJECTED_EXIT)
