"""Make an index, look at it, make its search files anew."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from histo_index.commands.options import (
    DeviceOption,
    DistanceOption,
    EncoderOption,
    IndexOption,
    JsonOption,
    MaxPixelsOption,
    MemoryOption,
    PrecisionOption,
    RecallOption,
    StructureOption,
)
from histo_index.commands.output import (
    REJECTED_EXIT,
    _size,
    exit_if,
    facts_text,
    print_result,
    require_index,
)
from histo_index.commands.progress import ProgressLine
from histo_index.commands.remove import with_removed_lines
from histo_index.wording import counted

if TYPE_CHECKING:
    from histo_index.indexer.build_config import BuildReport

indexes = typer.Typer()


@indexes.command(epilog="Example: histo-index build tiles -o tiles.hx --manifest labels.csv")
def build(
    tiles: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folders, image files, or one manifest; else all that the index was built from."
        ),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The index folder.")] = Path(
        "tiles.hx"
    ),
    encoder: EncoderOption = None,
    manifest: Annotated[
        Path | None,
        typer.Option("--manifest", help="CSV, TSV or Parquet with a path column; is remembered."),
    ] = None,
    no_manifest: Annotated[
        bool,
        typer.Option("--no-manifest", help="Forget the manifest and drop the columns it gave."),
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
        int | None, typer.Option("--shard-rows", min=1, help="Tiles a shard; else as before.")
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
        bool, typer.Option("--retry-rejected", help="Try again what could not be used before.")
    ] = False,
    rehash: Annotated[
        bool, typer.Option("--rehash", help="Read unchanged files too, whatever their times say.")
    ] = False,
    allow_rejected: Annotated[
        bool, typer.Option("--allow-rejected", help="Exit 0 even if images were rejected.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Build an index from tiles, or bring it up to date; only new and changed ones are encoded."""
    from histo_index.api import build as index_builds

    progress = ProgressLine()
    try:
        report = index_builds.build(
            tiles or [], output, encoder=encoder, manifest=manifest, add=add, replace=replace,
            no_manifest=no_manifest, drop_missing_source=drop_missing_source,
            allow_drop=allow_drop, device=device,
            precision=precision, max_pixels=max_pixels, structure=structure, recall=recall,
            memory=memory, shard_rows=shard_rows, retry_rejected=retry_rejected, rehash=rehash,
            distance=distance, private=private or (), public=public or (), progress=progress,
        )  # fmt: skip
    finally:
        progress.close()
    print_result(vars(report) if as_json else describe_build(report))
    exit_if(report.rejected and not allow_rejected, REJECTED_EXIT)


@indexes.command(epilog="Example: histo-index info -i tiles.hx --verify")
def info(
    index: IndexOption = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every file and check its checksum.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what an index is, what made it, and whether every file is whole."""
    from histo_index.api.info import index_facts

    facts = index_facts(require_index(index), verify=verify)
    print_result(facts if as_json else facts_text(with_removed_lines(facts)))


@indexes.command(epilog="Example: histo-index reindex -i tiles.hx")
def reindex(
    index: IndexOption = None,
    structure: StructureOption = None,
    recall: RecallOption = None,
    memory: MemoryOption = None,
    distance: DistanceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the search files of an index anew from its shards, as before unless told."""
    from histo_index.api import build as index_builds

    folder = require_index(index)
    manifest = index_builds.reindex(
        folder, structure=structure, recall=recall, memory=memory, distance=distance
    )
    facts = {
        "index": folder, "generation": manifest.generation, "tiles": manifest.tiles,
        "structure": manifest.to_json()["structure"],
    }  # fmt: skip
    print_result(
        facts if as_json else f"{folder}: {counted(manifest.tiles, 'tile')}, search files made anew"
    )


def describe_build(report: "BuildReport") -> str:
    """Sum up a build."""
    rejected, left_out = sum(report.rejected.values()), sum(report.left_out.values())
    rate = f" ({report.images_per_second:.1f} images/s, all included)" if report.encoded else ""
    lines = [
        f"{report.index}: {counted(report.tiles, 'tile')}, generation {report.generation}",
        f"  encoded   {report.encoded:,}{rate}",
        f"  reused    {report.reused:,}",
        f"  dropped   {report.dropped:,}",
        f"  rejected  {rejected:,}",
        *(f"            {count:,} × {reason}" for reason, count in report.rejected.items()),
        *([f"  left out  {left_out:,}, removed before"] if left_out else []),
        *(f"            {count:,} × {reason}" for reason, count in report.left_out.items()),
        f"  ignored   {counted(report.ignored, 'file')} without the suffix of an image",
        f"  took      {report.seconds:.1f} s, {_size(report.bytes)} on disk",
    ]
    if rejected:
        lines.append(f"  reasons in {report.index / report.rejected_file}")
    return "\n".join(lines)
