"""Put together what a build would commit, and tell whether that is anything new."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from histo_index.indexer.manifest import FileRecord, Manifest
from histo_index.indexer.shards import Receipt, record_shard


def draft_manifest(
    folder: Path,
    receipts: Sequence[Receipt],
    *,
    encoder: Mapping[str, Any],
    encoder_files: Mapping[str, FileRecord],
    rejected: int,
    settings: Mapping[str, Any],
) -> Manifest:
    """Draft a manifest; its generation, date and derived files are filled in when it is committed.

    Args:
        folder: the index.
        receipts: of the shards, in row order; those without rows are left out.
        encoder: what the encoder says of itself.
        encoder_files: its files in the index, by role.
        rejected: how many inputs could not be used.
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
        settings=settings,
        libraries={name: version(name) for name in ("histo-index", "numpy", "pyarrow", "pillow")},
    )


def is_unchanged(folder: Path, current: Manifest, draft: Manifest) -> bool:
    """Tell whether a draft would commit again what is committed, and all of that is there."""
    return (
        current.shards == draft.shards
        and current.settings == draft.settings
        and draft.files.items() <= current.files.items()
        and all(_is_there(folder, record) for record in current.records())
    )


def _is_there(folder: Path, record: FileRecord) -> bool:
    path = folder / record.path
    return path.is_file() and path.stat().st_size == record.bytes
