"""Make an index from features that other programs computed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from histo_index.commands.options import (
    DistanceOption,
    JsonOption,
    MemoryOption,
    RecallOption,
    SlideMppOption,
    StructureOption,
)
from histo_index.commands.output import MISMATCH_EXIT, REJECTED_EXIT, exit_if, print_result
from histo_index.wording import counted, printable

if TYPE_CHECKING:
    from histo_index.api.features.options import ImportReport

app = typer.Typer()

# The others are listed by `info --rejected`.
_MOST_REASONS: Final = 20


@app.command(
    "import", epilog="Example: histo-index import features_uni_v2 -o tiles.hx --slides slides"
)
def import_(
    features: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Files and folders of TRIDENT, CLAM, AtlasPatch, slide2vec, LazySlide; .h5ad, "
            ".npy beside a table of ids, Parquet (default: those that the index remembers)."
        ),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The index folder.")] = Path(
        "tiles.hx"
    ),
    add: Annotated[
        bool, typer.Option("--add", help="Add these features to the inputs of the index.")
    ] = False,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Keep only these features; drop those of other inputs."),
    ] = False,
    slides: Annotated[
        Path | None,
        typer.Option("--slides", help="Folder of the slides: their scales, and their pixels."),
    ] = None,
    slide_mpp: SlideMppOption = None,
    encoder_name: Annotated[
        str | None,
        typer.Option("--encoder-name", help="What computed the features, or which of several."),
    ] = None,
    encoder: Annotated[
        Path | None,
        typer.Option("--encoder", help="Encoder folder to verify the features by; needs --slides."),
    ] = None,
    metadata: Annotated[
        Path | None,
        typer.Option("--metadata", help="Table with a column slide or image_id, and others."),
    ] = None,
    private: Annotated[
        list[str] | None,
        typer.Option("--private", help="Column to show only on request; repeatable."),
    ] = None,
    structure: StructureOption = None,
    recall: RecallOption = None,
    memory: MemoryOption = None,
    distance: DistanceOption = None,
    allow_drop: Annotated[
        bool,
        typer.Option("--allow-drop", help="Allow dropping more than half of the tiles."),
    ] = False,
    allow_rejected: Annotated[
        bool, typer.Option("--allow-rejected", help="Exit 0 even if files or rows were rejected.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make an index from features of another program, or bring it up to date."""
    from histo_index.api.features.import_features import import_features
    from histo_index.api.features.options import FeatureOptions
    from histo_index.api.slides.slide_mpp import read_slide_mpp
    from histo_index.indexer.nearest.choose import search_config

    options = FeatureOptions(
        slides=slides, slide_mpp=read_slide_mpp(slide_mpp), encoder_name=encoder_name,
        encoder=encoder, metadata=metadata, distance=distance, private=private or (),
        search=search_config(structure, recall, memory), add=add, replace=replace,
        allow_drop=allow_drop,
    )  # fmt: skip
    report = import_features(list(features or ()), output, options)
    print_result(report if as_json else describe_import(report))
    exit_if(report.verification and not report.verification.is_verified, MISMATCH_EXIT)
    exit_if(report.rejected and not allow_rejected, REJECTED_EXIT)


def describe_import(report: "ImportReport") -> str:
    """Format the result of an import, a line for each input that was rejected."""
    of_slides = f" of {counted(report.slides, 'slide')}" if report.slides else ""
    tools = ", ".join(
        f"{counted(number, 'file')} of {tool}" for tool, number in report.tools.items()
    )
    unchanged = sum(report.tools.values()) - report.read
    unread = f"; {unchanged:,} unchanged, not read again" if unchanged else ""
    lines = [
        f"{report.index}: {counted(report.tiles, 'tile')}{of_slides}",
        f"  read      {tools}; {counted(report.ignored, 'other file')} ignored{unread}",
        f"  encoder   {printable(report.encoder)}, {report.size:,} numbers: {report.status}",
        f"  rejected  {len(report.reasons):,}",
        *(f"            {printable(reason)}" for reason in report.reasons[:_MOST_REASONS]),
    ]
    if len(report.reasons) > _MOST_REASONS:
        lines.append(f"            and more: histo-index info --rejected -i {report.index}")
    if report.verification is not None:
        lines += [f"  {line}" for line in report.verification.lines]
    return "\n".join([*lines, f"  took      {report.seconds:.1f} s"])
