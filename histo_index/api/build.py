"""Build an index and rebuild parts of it, from Python. The command line calls this too."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from histo_index.api.encoders import encoder_for, warn_if_untrained

if TYPE_CHECKING:
    from histo_index.api.cluster.engine import Engine
    from histo_index.indexer.build_config import BuildProgress, BuildReport
    from histo_index.indexer.format.manifest import Manifest
    from histo_index.indexer.removal.compact import CompactReport
    from histo_index.slides.tiling.options import SlideSource

_Paths = str | Path | Sequence[str | Path]


def build(
    sources: _Paths = (),
    output: str | Path = "tiles.hx",
    *,
    encoder: str | Path | None = None,
    manifest: str | Path | None = None,
    add: bool = False,
    replace: bool = False,
    no_manifest: bool = False,
    drop_missing_source: bool = False,
    allow_drop: bool = False,
    device: str = "auto",
    precision: str = "auto",
    max_pixels: int | None = None,
    structure: str | None = None,
    recall: float | None = None,
    memory: str | int | None = None,
    shard_rows: int | None = None,
    retry_rejected: bool = False,
    rehash: bool = False,
    distance: str | None = None,
    private: str | Sequence[str] = (),
    public: str | Sequence[str] = (),
    slides: "SlideSource | None" = None,
    any_mpp: bool = False,
    engine: "Engine | None" = None,
    progress: "Callable[[BuildProgress], None]" = lambda state: None,
) -> "BuildReport":
    """Build or update an index; only new and changed tiles are encoded.

    Args:
        sources: folders (searched recursively), image files, or one manifest; default: the sources
            of the index.
        output: the index folder.
        encoder: an encoder folder; default: that of the index, or the bundled one.
        manifest: CSV, TSV or Parquet with a `path` column; its other columns become metadata. It
            is remembered, and read again when left out.
        add: add `sources` to those of the index.
        replace: keep only `sources`; tiles of other sources are dropped.
        no_manifest: forget the manifest and drop its columns.
        drop_missing_source: drop the tiles of a source that is missing, unreadable or empty,
            instead of raising an error.
        allow_drop: allow dropping more than half of the tiles.
        device: `auto`, `cpu` or `cuda`.
        precision: `auto`, `float32` or `bfloat16`.
        max_pixels: reject larger images; default: unchanged, or 64 million for a new index.
        structure: ANN index, a FAISS factory string or `exact`; default, with the next two:
            unchanged, or by the number of tiles.
        recall: share of the true ten nearest that a search finds, tuned on the index; default 0.99.
        memory: limit of the ANN index in bytes, or text such as `4GB` (default).
        shard_rows: tiles per Parquet file; default: unchanged, or those encoded in about a minute,
            at most 1,024.
        retry_rejected: try rejected images again.
        rehash: read all tiles again, also those with unchanged size and times.
        distance: `diffused` or `plain`; default: unchanged, or diffused from 100 tiles on.
        private: columns that are shown, exported and used in filters only on request; remembered.
        public: columns that are no longer private.
        slides: how slides are cut into tiles; remembered. Without it slides are rejected.
        any_mpp: accept slide tiles whose scale differs from the encoder's by more than 1.5.
        engine: who encodes; default: this process.
        progress: called with the state, several times a second.

    Returns:
        The counts of encoded, reused and rejected tiles.

    Raises:
        InputError: an argument or every tile is unusable.
        MismatchError: the index was built by another encoder.
        LockedError: another process is writing the index.
        IndexFormatError: index or encoder are damaged or too new.
        OSError: the disk is full or not writable; the index is unchanged.
    """
    from histo_index.api.cluster.engine import make_runner
    from histo_index.api.scale.check import check_cut
    from histo_index.api.slides.cut import SlideCutter
    from histo_index.encoder.decode.image_file import DecodeLimits
    from histo_index.indexer.build import build as build_index
    from histo_index.indexer.build_config import BuildConfig
    from histo_index.indexer.nearest.choose import search_config
    from histo_index.indexer.private import PrivateColumns

    folder = Path(output)
    columns = PrivateColumns(add=_as_names(private), drop=_as_names(public))
    given = None if encoder is None else Path(encoder)
    limits = None if max_pixels is None else DecodeLimits(max_pixels=max_pixels)
    runner = encoder_for(folder, given, device=device, precision=precision, limits=limits)
    warn_if_untrained(runner.folder, is_trained=runner.card()["is_trained"])
    check_cut(folder if add else None, runner, slides, any_mpp=any_mpp)
    cutter = SlideCutter(folder)
    others = make_runner(engine, folder, runner, device=device, precision=precision)
    report = build_index(
        BuildConfig(
            sources=_as_paths(sources),
            output=folder,
            manifest=None if manifest is None else Path(manifest),
            add=add,
            replace=replace,
            no_manifest=no_manifest,
            drop_missing_source=drop_missing_source,
            allow_drop=allow_drop,
            shard_rows=shard_rows,
            retry_rejected=retry_rejected,
            rehash=rehash,
            search=search_config(structure, recall, memory),
            distance=distance,
            private=columns,
            slides=slides,
            cut_slides=cutter,
            runner=others,
        ),
        runner,
        progress,
    )
    cutter.save()
    return report


def reindex(
    index: str | Path,
    *,
    structure: str | None = None,
    recall: float | None = None,
    memory: str | int | None = None,
    distance: str | None = None,
) -> "Manifest":
    """Rebuild the search files of an index from its shards; settings stay unless given.

    Repairs an index whose search files are damaged or missing.

    Args:
        index: the index folder.
        structure: ANN index, a FAISS factory string or `exact`.
        recall: share of the true ten nearest that a search finds, tuned on the index.
        memory: limit of the ANN index in bytes, or text such as `4GB`.
        distance: `plain`, or `diffused` to fit it again.

    Returns:
        The new manifest; an open index keeps answering from its old state.

    Raises:
        InputError: an argument does not fit the index.
        LockedError: another process is writing the index.
        IndexFormatError: the manifest or a shard is missing or damaged.
    """
    from histo_index.indexer.nearest.choose import search_config
    from histo_index.indexer.writing.commit import reindex as rebuild_search_files

    config = search_config(structure, recall, memory)
    return rebuild_search_files(Path(index), config, distance=distance)


def compact(index: str | Path) -> "CompactReport":
    """Rewrite shards and search files without removed tiles; nothing is encoded.

    Raises:
        LockedError: another process is writing the index.
        IndexFormatError: the index is damaged.
    """
    from histo_index.indexer.removal.compact import compact as compact_index

    return compact_index(Path(index))


def _as_names(names: str | Sequence[str]) -> Sequence[str]:
    return [names] if isinstance(names, str) else names


def _as_paths(sources: _Paths) -> list[Path]:
    if isinstance(sources, str | Path):
        return [Path(sources)]
    return [Path(source) for source in sources]
