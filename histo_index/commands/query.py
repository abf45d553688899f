"""Query an index: one pair, a list of pairs, nearest neighbours."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from histo_index.commands.answers.texts import (
    describe_neighbours,
    describe_pair,
    describe_pairs,
    pairs_document,
)
from histo_index.commands.features.notes import add_note
from histo_index.commands.options import (
    AddressOption,
    AllowPartialOption,
    AnyMppOption,
    BatchOption,
    ByOption,
    DeviceOption,
    ExcludeSameOption,
    ExcludeSelfOption,
    ImagesArgument,
    IndexOption,
    JsonOption,
    MontageOption,
    NearDuplicatesOption,
    OutputOption,
    OverwriteOption,
    PartsOption,
    PrivateOption,
    QueryMppOption,
    ReportNamesOption,
    ReportOption,
    SearchEngineOption,
    ThresholdOption,
    TilesOption,
    UnsureOption,
    ValuesOption,
    WhereOption,
    find_index,
    read_values,
    require_index,
)
from histo_index.commands.output import (
    REJECTED_EXIT,
    exit_if,
    fail,
    print_result,
)  # fmt: skip
from histo_index.commands.slides.by_slide import SlideSearch, answer_by_slide

if TYPE_CHECKING:
    from histo_index.api.images import ImageLike
    from histo_index.api.index import Index
    from histo_index.search.answers.neighbours import Neighbour

app = typer.Typer()

EXIT_CODES: Final = {"same": 0, "different": 10, "unsure": 11}


@app.command(epilog="Example: histo-index pair a.png b.png -i tiles.hx")
def pair(
    image_a: Annotated[str, typer.Argument(help="A file, or an image id or path in the index.")],
    image_b: Annotated[str, typer.Argument(help="The other image.")],
    index: IndexOption = None,
    encoder: Annotated[
        Path | None, typer.Option("--encoder", help="Compare by this encoder, without an index.")
    ] = None,
    threshold: ThresholdOption = None,
    unsure: UnsureOption = None,
    report: ReportOption = None,
    report_names: ReportNamesOption = False,
    tiles: TilesOption = None,
    device: DeviceOption = "auto",
    query_mpp: QueryMppOption = None,
    any_mpp: AnyMppOption = False,
    exit_status: Annotated[
        bool, typer.Option("--exit-status", help="Exit 0 same, 10 different, 11 unsure.")
    ] = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Are two images of the same tissue category? Files take precedence over image ids."""
    from histo_index.api.answers.compare import compare
    from histo_index.api.index import open as open_index

    folder = _choose_index(encoder, index, report, query_mpp, unsure)
    if report is not None:
        # Imported here: without a report nothing is written, and a look-up must start fast.
        from histo_index.commands import result_files

        result_files.check_output(report, overwrite=overwrite, suffixes=(".html",))
    if folder is None:
        answer = compare(image_a, image_b, encoder=encoder, threshold=threshold, device=device)
    else:
        opened = open_index(folder, device=device, query_mpp=query_mpp, any_mpp=any_mpp)
        answer = opened.pair(image_a, image_b, threshold=threshold, unsure=unsure)
        if report is not None:
            opened.report(
                answer, report, images=[image_a, image_b], tiles=tiles, names=report_names
            )
    print_result(answer.as_dict() if as_json else describe_pair(answer))
    exit_if(exit_status, EXIT_CODES[answer.verdict.value])


def _choose_index(
    encoder: Path | None,
    index: Path | None,
    report: Path | None,
    mpp: float | None,
    unsure: bool | None,
) -> Path | None:
    """Return the index that `pair` asks; None to compare two files without one."""
    if encoder and (index or report):
        fail("--encoder excludes --index and --report: a report shows tiles of an index", 2)
    folder = require_index(index) if report else None if encoder else find_index(index)
    if folder is None and mpp is not None:
        fail("--mpp needs an index, whose scale it is compared with; pass --index DIR", 2)
    if folder is None and unsure:
        fail("--unsure needs a calibrated index; pass --index DIR, or leave it out", 2)
    return folder


@app.command(epilog="Example: histo-index pairs pairs.csv -o answers.csv -i tiles.hx")
def pairs(
    pair_list: Annotated[str, typer.Argument(metavar="LIST", help="CSV, TSV, Parquet, or -.")],
    output: Annotated[
        str, typer.Option("--output", "-o", help="CSV, TSV, Parquet or JSON lines file, or -.")
    ] = "-",
    index: IndexOption = None,
    threshold: ThresholdOption = None,
    unsure: UnsureOption = None,
    root: Annotated[
        Path, typer.Option("--root", help="Folder of images that are not in the index.")
    ] = Path(),
    form: Annotated[
        str, typer.Option("--format", help="table, or query-prediction (as the reference method).")
    ] = "table",
    device: DeviceOption = "auto",
    query_mpp: QueryMppOption = None,
    any_mpp: AnyMppOption = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Score a list of pairs, one row per pair. Image ids take precedence over files."""
    from histo_index.api.index import open as open_index
    from histo_index.commands import result_files

    target = None if output == "-" else Path(output)
    result_files.check_output(target, overwrite=overwrite)
    result_files.check_form(form)
    opened = open_index(require_index(index), device=device, query_mpp=query_mpp, any_mpp=any_mpp)
    scores = opened.pairs(pair_list, threshold=threshold, unsure=unsure, root=root)
    is_document = as_json and target is None
    if not is_document:
        result_files.write_scores(scores, target, form=form)
    document = pairs_document(scores, with_rows=is_document)
    print_result(
        document if as_json else describe_pairs(scores),
        to_stderr=target is None and not as_json,
    )
    exit_if(scores.answered < scores.pairs, REJECTED_EXIT)


@app.command(epilog="Example: histo-index search a.png -k 5 --montage out.png -i tiles.hx")
def search(
    images: ImagesArgument = None,
    batch: BatchOption = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Number of neighbours.")] = 10,
    index: IndexOption = None,
    output: OutputOption = None,
    montage: MontageOption = None,
    report: ReportOption = None,
    report_names: ReportNamesOption = False,
    tiles: TilesOption = None,
    exclude_self: ExcludeSelfOption = True,
    where: WhereOption = None,
    exclude_same: ExcludeSameOption = None,
    values: ValuesOption = None,
    by: ByOption = None,
    near_duplicates: NearDuplicatesOption = "keep",
    private: PrivateOption = False,
    device: DeviceOption = "auto",
    query_mpp: QueryMppOption = None,
    any_mpp: AnyMppOption = False,
    engine: SearchEngineOption = None,
    address: AddressOption = None,
    parts: PartsOption = None,
    allow_partial: AllowPartialOption = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Find the nearest tiles of each image."""
    from histo_index.api.cluster.search import opened_for_search
    from histo_index.commands import result_files
    from histo_index.search.answers import neighbour_table, searching
    from histo_index.search.inputs.name_list import gather_names

    names = gather_names(images or [], batch)
    result_files.check_answer_files(output, montage, report, overwrite=overwrite)
    answer_by_slide(
        by, names,
        SlideSearch(
            index=index, k=k, exclude_same=exclude_same or [], private=private, as_json=as_json
        ),
        others={
            "--where": where, "--output": output, "--montage": montage, "--report": report,
            "--batch": batch, "--value": values, "--engine": engine, "--address": address,
            "--parts": parts, "--allow-partial": allow_partial, "--tiles": tiles,
            "--near-duplicates": near_duplicates != "keep", "--include-self": not exclude_self,
            "--report-names": report_names, "--mpp": query_mpp, "--any-mpp": any_mpp,
        },
    )  # fmt: skip
    with opened_for_search(
        require_index(index), engine, address, parts, allow_partial=allow_partial,
        device=device, private=private, query_mpp=query_mpp, any_mpp=any_mpp,
    ) as (opened, label):  # fmt: skip
        found = opened.search_each(
            names,
            searching.SearchOptions(
                k=k, exclude_self=exclude_self, where=where, exclude_same=exclude_same or (),
                near_duplicates=near_duplicates, values=read_values(values or ()),
            ),
            tiles=tiles,
        )  # fmt: skip
    asked, shown = result_files.answered(names, found, is_batch=batch is not None)
    rows = add_note(
        label(neighbour_table.neighbour_rows(names, found, with_status=batch is not None)),
        opened.manifest.encoder.note,
    )
    write_pictures(
        opened, asked, shown, montage=montage, report=report, tiles=tiles, names=report_names
    )
    result_files.write_neighbours(rows, output)
    print_result(rows if as_json else describe_neighbours(rows, names, found))
    exit_if(batch and len(asked) < len(names), REJECTED_EXIT)


def write_pictures(
    index: "Index",
    images: "Sequence[ImageLike]",
    found: "Sequence[Sequence[Neighbour]]",
    *,
    montage: Path | None,
    report: Path | None,
    tiles: Path | None,
    names: bool,
) -> None:
    """Write the montage and the report that were requested."""
    if found and montage is not None:
        index.draw(images, found, montage, tiles=tiles)
    if found and report is not None:
        index.report(found, report, images=images, tiles=tiles, names=names)
