"""Build an index from tiles and look after it, from Python; the command line calls these too."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from histo_index.api.encoders import encoder_for, warn_if_untrained

if TYPE_CHECKING:
    from histo_index.indexer.build_config import BuildProgress, BuildReport
    from histo_index.indexer.format.manifest import Manifest
    from histo_index.indexer.removal.compact import CompactReport

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
    progress: "Callable[[BuildProgress], None]" = lambda state: None,
) -> "BuildReport":
    """Build an index from tiles, or bring it up to date: only new and changed tiles are encoded.

    Args:
        sources: folders (searched through), image files, or one manifest; left out, everything that
            the index was built from before.
        output: the index folder.
        encoder: an encoder folder; left out, the index's own, else the bundled one.
        manifest: CSV, TSV or Parquet with a `path` column; the others are kept as metadata. It is
            remembered with its folder; left out, it is read again.
        add: add `sources` to those of the index.
        replace: make `sources` the only ones of the index; tiles of others are dropped.
        no_manifest: list the folder without the manifest that is remembered; its columns are
            dropped.
        drop_missing_source: drop the tiles of a source that is missing, unreadable or empty;
            otherwise that is an error.
        allow_drop: go on even if more than half of the tiles are dropped.
        device: `auto`, `cpu` or `cuda`.
        precision: `auto`, `float32` or `bfloat16`.
        max_pixels: images with more are rejected from their header; left out, as the index was
            built before, else 64 million.
        structure: a FAISS factory string to search by, or `exact`; left out with the next two, as
            the index was built before, else by its size.
        recall: share of the true ten nearest to find, tuned on the index; else 0.99.
        memory: bytes that the structure may take, or text such as `4GB`, which is the default.
        shard_rows: tiles per Parquet file; left out, as before, else what is encoded in about a
            minute, at most 1,024.
        retry_rejected: try again what an earlier build could not use.
        rehash: read every tile again, also one whose size and times are as they were.
        distance: `diffused` or `plain`; left out, as before, else diffused from 100
            tiles on.
        private: columns that are shown, exported and filtered by only on request; remembered.
        public: columns that are private no longer.
        progress: called often with how far it is.

    Returns:
        What was encoded, reused and rejected.

    Raises:
        InputError: something passed cannot be used, or not one tile can.
        MismatchError: the index was built by another encoder.
        LockedError: another process is writing the index.
        IndexFormatError: index or encoder are damaged or too new.
        OSError: the disk is full or not writable; the old state stands.
    """
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
    return build_index(
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
        ),
        runner,
        progress,
    )


def reindex(
    index: str | Path,
    *,
    structure: str | None = None,
    recall: float | None = None,
    memory: str | int | None = None,
    distance: str | None = None,
) -> "Manifest":
    """Make the search files of an index anew from its shards, as before unless told.

    It need not open: damaged or missing search files are what this mends.

    Args:
        index: the index folder.
        structure: a FAISS factory string to search by, or `exact`; left out with the next two, as
            before.
        recall: share of the true ten nearest to find, tuned on the index.
        memory: bytes that the structure may take, or text such as `4GB`.
        distance: `plain`, or `diffused` to fit it again; left out, as before.

    Returns:
        What is committed now; an index that is open answers from its old state.

    Raises:
        InputError: the index cannot be searched as asked.
        LockedError: another process is writing the index.
        IndexFormatError: the manifest or a shard is missing or damaged.
    """
    from histo_index.indexer.nearest.choose import search_config
    from histo_index.indexer.writing.commit import reindex as make_anew

    config = search_config(structure, recall, memory)
    return make_anew(Path(index), config, distance=distance)


def compact(index: str | Path) -> "CompactReport":
    """Write shards and search files again without removed tiles; nothing is encoded.

    Raises:
        LockedError: another process is writing the index.
        IndexFormatError: the index is damaged.
    """
    from histo_index.indexer.removal.compact import compact as write_again

    return write_again(Path(index))


def _as_names(names: str | Sequence[str]) -> Sequence[str]:
    return [names] if isinstance(names, str) else names


def _as_paths(sources: _Paths) -> list[Path]:
    if isinstance(sources, str | Path):
        return [Path(sources)]
    return [Path(source) for source in sources]
