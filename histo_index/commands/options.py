"""Options that several commands share, and the index that a command works on."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from histo_index.commands.output import fail
from histo_index.wording import printable

IndexOption = Annotated[
    Path | None,
    typer.Option(
        "--index",
        "-i",
        help="The index (default: $HISTO_INDEX, or the only *.hx folder here).",
    ),
]
EncoderOption = Annotated[
    Path | None,
    typer.Option(
        "--encoder", help="Encoder folder (default: that of the index, or the bundled one)."
    ),
]
ThresholdOption = Annotated[
    float | None,
    typer.Option(
        "--threshold",
        help="Largest distance of a pair called same (default: calibrated or published).",
    ),
]
UnsureOption = Annotated[
    bool | None,
    typer.Option(
        "--unsure/--decide",
        help="Allow or forbid the verdict unsure (default: as calibrated).",
    ),
]
GroupOption = Annotated[
    str | None,
    typer.Option("--group", help="Column of patient or slide ids (default: group)."),
]
LabelOption = Annotated[
    str | None,
    typer.Option("--label", help="Column with the class of a tile (default: label)."),
]
MarksOption = Annotated[
    bool, typer.Option("--marks", help="Use the pairs that were marked on the page of `serve`.")
]
PrivateOption = Annotated[bool, typer.Option("--private", help="Use and show private columns.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")]
OutputOption = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Write a CSV, TSV, Parquet or JSON lines file."),
]
MontageOption = Annotated[Path | None, typer.Option("--montage", help="Draw the tiles as a PNG.")]
ReportOption = Annotated[
    Path | None, typer.Option("--report", help="Write one HTML page with images.")
]
ReportNamesOption = Annotated[
    bool,
    typer.Option(
        "--report-names", help="Name tiles and groups in the report, which is otherwise anonymous."
    ),
]
TilesOption = Annotated[
    Path | None,
    typer.Option("--tiles", help="Folder of the tile images (default: where they were indexed)."),
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
PrecisionOption = Annotated[str, typer.Option("--precision", help="auto, float32 or bfloat16.")]
ArchOption = Annotated[
    str, typer.Option("--arch", help="resnext50_32x4d, resnext101_32x8d or resnet18.")
]
StructureOption = Annotated[
    str | None,
    typer.Option(
        "--structure",
        help="ANN index: a FAISS factory string, or exact (default: by the number of tiles).",
    ),
]
RecallOption = Annotated[
    float | None,
    typer.Option(
        "--recall", help="Share of the true ten nearest that a search finds (default: 0.99)."
    ),
]
MemoryOption = Annotated[
    str | None,
    typer.Option("--memory", help="Memory limit of the ANN index, such as 500MB (default: 4GB)."),
]
DistanceOption = Annotated[
    str | None,
    typer.Option(
        "--distance",
        help="diffused or plain (default: unchanged; for a new index diffused from 100 tiles on).",
    ),
]
MaxPixelsOption = Annotated[
    int | None,
    typer.Option(
        "--max-pixels",
        min=1,
        help="Reject larger images (default: unchanged; for a new index 64 million).",
    ),
]
TileSizeOption = Annotated[int, typer.Option("--tile-size", help="Side of a slide tile in pixels.")]
OverlapOption = Annotated[
    float, typer.Option("--overlap", help="Share of a side that neighbouring tiles share.")
]
TissueOption = Annotated[
    str, typer.Option("--tissue", help="How tissue is found: otsu, entropy or none.")
]
MinTissueOption = Annotated[
    float, typer.Option("--min-tissue", help="Smallest share of a tile that is tissue.")
]
SlideMppOption = Annotated[
    Path | None,
    typer.Option("--slide-mpp", help="CSV with the columns slide,mpp: scales the files lack."),
]

AnyMppOption = Annotated[
    bool,
    typer.Option("--any-mpp", help="Compare images whose scale differs by more than 1.5."),
]

QueryMppOption = Annotated[
    float | None,
    typer.Option("--mpp", help="Microns per pixel of images that are not in the index."),
]

ImagesArgument = Annotated[
    list[str] | None, typer.Argument(help="Files, or image ids or paths in the index.")
]

BatchOption = Annotated[
    Path | None, typer.Option("--batch", help="A list of more images: .txt, CSV, TSV or Parquet.")
]

CropOption = Annotated[
    bool,
    typer.Option(
        "--crop/--no-crop", help="Count GeoJSON from the scanned part of a slide, as QuPath."
    ),
]

EngineOption = Annotated[
    str | None,
    typer.Option("--engine", help="Work by several processes, or by a ray cluster."),
]

SearchEngineOption = Annotated[
    str | None, typer.Option("--engine", help="Search the index in parts: ray (default: whole).")
]

AddressOption = Annotated[
    str | None,
    typer.Option("--address", help="HOST:PORT of a Ray cluster (default: one on this machine)."),
]

PartsOption = Annotated[
    int | None, typer.Option("--parts", min=1, help="Parts searched by ray (default: one a core).")
]

AllowPartialOption = Annotated[
    bool, typer.Option("--allow-partial", help="Answer, labelled, if some parts are lost.")
]

ExcludeSelfOption = Annotated[
    bool, typer.Option("--exclude-self/--include-self", help="Leave out the query image itself.")
]

ExcludeSameOption = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude-same", help="Column whose value must differ from the query's; repeatable."
    ),
]

NearDuplicatesOption = Annotated[str, typer.Option("--near-duplicates", help="keep, or drop.")]

ValuesOption = Annotated[
    list[str] | None,
    typer.Option("--value", help="COLUMN=VALUE of queries that are not in the index; repeatable."),
]

ByOption = Annotated[
    str | None, typer.Option("--by", help="slide: find slides like a slide, by its slide_id.")
]
WhereOption = Annotated[
    str | None,
    typer.Option("--where", help="SQL filter over columns: \"site = 'A' and mpp < 0.6\"."),
]


def find_index(given: Path | None) -> Path | None:
    """Return the given index, else $HISTO_INDEX, else the only *.hx folder here, else None."""
    if given is not None:
        return given
    if named := os.environ.get("HISTO_INDEX"):
        return Path(named)
    found = sorted(path for path in Path().glob("*.hx") if path.is_dir())
    if len(found) > 1:
        names = ", ".join(str(path) for path in found[:4])
        fail(f"several indexes here ({names}); pass one with --index", 2)
    return found[0] if found else None


def require_index(given: Path | None) -> Path:
    """Return the index that `find_index` returns; exit with a usage error if there is none."""
    found = find_index(given)
    if found is None:
        fail("no index: pass --index DIR, set HISTO_INDEX, or run where one *.hx folder is", 2)
    return found


def require_alone(context: typer.Context, option: str, *, beside: Sequence[str]) -> None:
    """Exit with a usage error if an option is combined with others than those in `beside`."""
    for parameter in context.command.params:
        source = context.get_parameter_source(str(parameter.name))
        is_given = source is not None and source.name != "DEFAULT"
        if is_given and parameter.name not in (option, *beside):
            fail(f"--{option} excludes {parameter.opts[0]}: leave out one of them", 2)


def read_values(given: Sequence[str]) -> dict[str, str]:
    """Split COLUMN=VALUE options; exit with a usage error at one without `=`."""
    pairs = [text.partition("=") for text in given]
    for text, (column, mark, _) in zip(given, pairs, strict=True):
        if not mark or not column:
            fail(f"--value {printable(text)}: expected COLUMN=VALUE, such as group=patient-7", 2)
    return {column: value for column, _, value in pairs}
