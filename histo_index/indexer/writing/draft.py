"""Draft the manifest of a build, and compare it with the committed one."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from histo_index.indexer.format.encoder_card import EncoderCard
from histo_index.indexer.format.manifest import Manifest
from histo_index.indexer.format.records import FileRecord, Settings, SourceRecord
from histo_index.indexer.format.removed import Removed
from histo_index.indexer.format.shards import Receipt, Rejection, record_shard
from histo_index.indexer.writing.plan import FinishedShard


def draft_manifest(
    folder: Path,
    receipts: Sequence[Receipt],
    *,
    encoder: EncoderCard,
    encoder_files: Mapping[str, FileRecord],
    rejected: int,
    sources: tuple[SourceRecord, ...],
    settings: Settings,
) -> Manifest:
    """Draft a manifest; its generation, date and derived files are filled in when it is committed.

    Args:
        folder: the index.
        receipts: of the shards, in row order; those without rows are left out.
        encoder: what the encoder says of itself.
        encoder_files: its files in the index, by role.
        rejected: how many inputs could not be used.
        sources: what the tiles come from.
        settings: the options of the build.
    """
    shards = tuple(record_shard(folder, receipt) for receipt in receipts if receipt.rows)
    return Manifest(
        generation=0,
        created="",
        encoder=encoder,
        tiles=sum(shard.rows for shard in shards),
        rejected=rejected,
        shards=shards,
        files=encoder_files,
        sources=sources,
        settings=settings,
        libraries=library_versions(),
    )


def library_versions() -> dict[str, str]:
    """Return the libraries that write an index: name to version."""
    return {name: version(name) for name in ("histo-index", "numpy", "pyarrow", "pillow")}


def is_unchanged(folder: Path, current: Manifest, draft: Manifest) -> bool:
    """Return whether a draft equals the committed manifest and all its files exist.

    How many rows new shards would have is nothing new where there are no new shards.
    """
    settings = replace(draft.settings, shard_rows=current.settings.shard_rows)
    return (
        current.shards == draft.shards
        and current.settings == settings
        and current.sources == draft.sources
        and draft.files.items() <= current.files.items()
        and all(_is_there(folder, record) for record in current.records())
    )


def count_dropped(
    current: Manifest | None,
    finished: Sequence[FinishedShard],
    wanted: pa.Table,
    rejected: Sequence[Rejection],
    removed: Removed,
) -> int:
    """Count tiles of the committed generation, by image_id, that a build leaves out.

    Args:
        current: what is committed; None in a first build.
        finished: shards found whole; what stood in a damaged one is not known.
        wanted: the tiles that could be hashed.
        rejected: those of them that cannot be used.
        removed: what had been removed before, and was no tile of that generation.
    """
    if current is None:
        return 0
    committed = {shard.shard_id for shard in current.shards}
    chunks = [
        chunk
        for shard in finished
        if shard.receipt.shard_id in committed
        for chunk in shard.rows["image_id"].filter(pa.array(~removed.find(shard.rows))).chunks
    ]
    unusable = pa.array([entry.path for entry in rejected], pa.string())
    indexed = wanted.filter(pc.invert(pc.is_in(wanted["path"], value_set=unusable)))
    before = pa.chunked_array(chunks, pa.string())
    is_kept = pc.is_in(before, value_set=indexed["image_id"])
    return len(before) - int(pc.sum(is_kept).as_py() or 0)


def root_of(root: Path, folder: Path) -> str:
    """Return the tiles' root relative to the index, so that both can move."""
    return os.path.relpath(root, folder.resolve())


def _is_there(folder: Path, record: FileRecord) -> bool:
    path = folder / record.path
    return path.is_file() and path.stat().st_size == record.bytes
