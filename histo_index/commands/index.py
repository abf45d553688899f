"""Build an index, describe it, rebuild its search files."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from histo_index.commands.options import (
    AddressOption,
    AnyMppOption,
    DeviceOption,
    DistanceOption,
    EncoderOption,
    EngineOption,
    IndexOption,
    JsonOption,
    MaxPixelsOption,
    MemoryOption,
    MinTissueOption,
    OverlapOption,
    PrecisionOption,
    RecallOption,
    SlideMppOption,
    StructureOption,
    TileSizeOption,
    TissueOption,
    require_index,
)
from histo_index.commands.output import (
    REJECTED_EXIT,
    exit_if,
    facts_text,
    print_result,
    size_text,
    table_text,
)
from histo_index.commands.progress import report_build
from histo_index.commands.remove import describe_removed
from histo_index.wording import counted

if TYPE_CHECKING:
    from histo_index.indexer.build_config import BuildReport

app = typer.Typer()


@app.command(epilog="Example: histo-index build tiles -o tiles.hx --manifest labels.csv")
def build(
    tiles: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folders, image files, or one manifest (default: the sources of the index)."
        ),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The index folder.")] = Path(
        "tiles.hx"
    ),
    encoder: EncoderOption = None,
    manifest: Annotated[
        Path | None,
        typer.Option("--manifest", help="CSV, TSV or Parquet with a path column; remembered."),
    ] = None,
    no_manifest: Annotated[
        bool,
        typer.Option("--no-manifest", help="Forget the manifest and drop its columns."),
    ] = False,
    add: Annotated[
        bool, typer.Option("--add", help="Add these tiles to the sources of the index.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Keep only these tiles; drop those of other sources.")
    ] = False,
    drop_missing_source: Annotated[
        bool,
        typer.Option(
            "--drop-missing-source",
            help="Drop the tiles of a source that is missing, unreadable or empty.",
        ),
    ] = False,
    allow_drop: Annotated[
        bool, typer.Option("--allow-drop", help="Allow dropping more than half of the tiles.")
    ] = False,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    max_pixels: MaxPixelsOption = None,
    structure: StructureOption = None,
    recall: RecallOption = None,
    memory: MemoryOption = None,
    distance: DistanceOption = None,
    shard_rows: Annotated[
        int | None, typer.Option("--shard-rows", min=1, help="Tiles a shard; unchanged without it.")
    ] = None,
    private: Annotated[
        list[str] | None,
        typer.Option("--private", help="Column to show only on request; repeatable, remembered."),
    ] = None,
    public: Annotated[
        list[str] | None,
        typer.Option("--public", help="Column that is private no longer; repeatable."),
    ] = None,
    retry_rejected: Annotated[
        bool, typer.Option("--retry-rejected", help="Try rejected images again.")
    ] = False,
    rehash: Annotated[
        bool,
        typer.Option(
            "--rehash", help="Read all files again, also those with unchanged size and times."
        ),
    ] = False,
    mpp: Annotated[
        float | None,
        typer.Option("--mpp", help="Cut slides into tiles of so many microns per pixel; kept."),
    ] = None,
    tile_size: TileSizeOption = 256,
    overlap: OverlapOption = 0.0,
    tissue: TissueOption = "otsu",
    min_tissue: MinTissueOption = 0.5,
    sharpness: Annotated[
        bool, typer.Option("--sharpness", help="Measure the sharpness of slide tiles.")
    ] = False,
    slide_mpp: SlideMppOption = None,
    any_mpp: AnyMppOption = False,
    engine: EngineOption = None,
    address: AddressOption = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Workers of the engine.")
    ] = None,
    gpus_per_worker: Annotated[
        float | None,
        typer.Option(
            "--gpus-per-worker",
            min=0,
            help="GPUs of each Ray worker (default: 1, if there are any).",
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse Ray workers on other kinds of CPU or GPU.")
    ] = False,
    allow_rejected: Annotated[
        bool, typer.Option("--allow-rejected", help="Exit 0 even if images were rejected.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Build or update an index; only new and changed tiles are encoded."""
    from histo_index.api.build import build as build_index
    from histo_index.api.cluster.engine import choose_engine
    from histo_index.api.slides.slide_mpp import slide_source

    slides = slide_source(
        mpp, slide_mpp, tile_size=tile_size, overlap=overlap, tissue=tissue, min_tissue=min_tissue,
        sharpness=sharpness,
    )  # fmt: skip
    encoding = choose_engine(engine, address, workers, gpus_per_worker, strict=strict)
    report = build_index(
        tiles or [], output, encoder=encoder, manifest=manifest, add=add, replace=replace,
        no_manifest=no_manifest, drop_missing_source=drop_missing_source,
        allow_drop=allow_drop, device=device,
        precision=precision, max_pixels=max_pixels, structure=structure, recall=recall,
        memory=memory, shard_rows=shard_rows, retry_rejected=retry_rejected, rehash=rehash,
        distance=distance, private=private or (), public=public or (), slides=slides,
        any_mpp=any_mpp, engine=encoding, progress=report_build,
    )  # fmt: skip
    print_result(report if as_json else describe_build(report))
    exit_if(report.rejected and not allow_rejected, REJECTED_EXIT)


@app.command(epilog="Example: histo-index info -i tiles.hx --verify")
def info(
    index: IndexOption = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every file and check its checksum.")
    ] = False,
    rejected: Annotated[
        bool, typer.Option("--rejected", help="List the rejected files instead, with reasons.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Describe an index: contents, encoder, settings, and whether its files are intact."""
    from histo_index.api.info import index_facts, list_rejected

    if rejected:
        rows = list_rejected(require_index(index))
        print_result(rows if as_json else table_text(rows, nothing="no rejected files"))
        return
    facts = index_facts(require_index(index), verify=verify)
    print_result(facts if as_json else facts_text(describe_removed(facts)))


@app.command(epilog="Example: histo-index reindex -i tiles.hx")
def reindex(
    index: IndexOption = None,
    structure: StructureOption = None,
    recall: RecallOption = None,
    memory: MemoryOption = None,
    distance: DistanceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Rebuild the search files of an index from its shards; settings stay unless given."""
    from histo_index.api.build import reindex as rebuild_search_files

    folder = require_index(index)
    manifest = rebuild_search_files(
        folder, structure=structure, recall=recall, memory=memory, distance=distance
    )
    facts = {
        "index": folder, "generation": manifest.generation, "tiles": manifest.tiles,
        "distance": manifest.distance_kind, "structure": manifest.to_json()["structure"],
    }  # fmt: skip
    line = (
        f"{folder}: {counted(manifest.tiles, 'tile')}, search files rebuilt for "
        f"{manifest.distance_kind} distances"
    )
    print_result(facts if as_json else line)


def describe_build(report: "BuildReport") -> str:
    """Format the result of a build."""
    rejected, left_out = sum(report.rejected.values()), sum(report.left_out.values())
    rate = f" ({report.images_per_second:.1f} images/s, all included)" if report.encoded else ""
    lines = [
        f"{report.index}: {counted(report.tiles, 'tile')}, generation {report.generation}",
        f"  encoded   {report.encoded:,}{rate}",
        f"  reused    {report.reused:,}",
        f"  dropped   {report.dropped:,}",
        f"  rejected  {rejected:,}",
        *(f"            {count:,} × {reason}" for reason, count in report.rejected.items()),
        *([f"  left out  {left_out:,}, removed earlier"] if left_out else []),
        *(f"            {count:,} × {reason}" for reason, count in report.left_out.items()),
        f"  ignored   {counted(report.ignored, 'file')} without the suffix of an image",
        f"  took      {report.seconds:.1f} s, {size_text(report.bytes)} on disk",
    ]
    if rejected:
        lines.append(f"  reasons   histo-index info --rejected -i {report.index}")
    return "\n".join(lines)
