"""Commit a generation: derived files first, the manifest last, then remove what is not needed."""

import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from histo_index.errors import IndexFormatError
from histo_index.indexer import derive as search_files
from histo_index.indexer import shards as shard_files
from histo_index.indexer.atomic import publishing
from histo_index.indexer.lock import writer_lock
from histo_index.indexer.manifest import Manifest, read_manifest, write_manifest
from histo_index.indexer.plan import FinishedShard
from histo_index.indexer.shards import EMBEDDING, read_receipt, read_shard, shard_path
from histo_index.indexer.sources import Rejection

PLAN_NAME: Final = "plan.parquet"

_log = logging.getLogger(__name__)


def commit(
    folder: Path,
    draft: Manifest,
    current: Manifest | None,
    rejected: Sequence[Rejection] | None = None,
) -> Manifest:
    """Write the derived files and then the manifest; from then on the new generation stands."""
    generation = (current.generation if current else 0) + 1
    files = dict(draft.files)
    files |= search_files.derive(
        folder, draft.shards, generation=generation, size=draft.embedding_size
    )
    if rejected is not None:
        path = folder / f"rejected-{generation:06d}.parquet"
        _write_rejected(path, rejected)
        files["rejected"] = shard_files.record_file(folder, path)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    manifest = replace(draft, generation=generation, created=created, files=files)
    write_manifest(folder, manifest)
    clean_up(folder, manifest)
    return manifest


def reindex(folder: Path) -> Manifest:
    """Make the search files anew from the shards, as a new generation.

    Raises:
        IndexFormatError: the manifest or a shard is missing or damaged.
        LockedError: another process is writing the index.
    """
    read_manifest(folder)
    with writer_lock(folder):
        manifest = read_manifest(folder)
        return commit(folder, manifest, manifest)


def finished_shards(folder: Path, fingerprint: str) -> list[FinishedShard]:
    """Find the shards on disk that this encoder finished, each read and checked.

    A damaged one is left out, so that its tiles are encoded anew.
    """
    found = []
    for path in sorted((folder / shard_files.FOLDER).glob("part-*.json")):
        try:
            receipt = read_receipt(path)
            if receipt.fingerprint != fingerprint:
                continue
            shard = shard_path(folder, receipt.shard_id)
            table = read_shard(shard, size=receipt.bytes, expected=receipt.checksum)
        except IndexFormatError as error:
            _log.warning("%s", error)
            path.unlink(missing_ok=True)
            path.with_suffix(".parquet").unlink(missing_ok=True)
            continue
        found.append(FinishedShard(receipt=receipt, rows=table.drop_columns([EMBEDDING])))
    finished = {shard_path(folder, shard.receipt.shard_id) for shard in found}
    for path in (folder / shard_files.FOLDER).glob("part-*.parquet"):
        if path not in finished:
            # No receipt: its task was killed between the two, and will run again.
            path.unlink()
    return found


def read_rejected(folder: Path, manifest: Manifest) -> list[Rejection]:
    """Read the inputs that could not be used.

    Raises:
        IndexFormatError: the list is missing or damaged.
    """
    record = manifest.files["rejected"]
    table = read_shard(folder / record.path, size=record.bytes, expected=record.checksum)
    return [Rejection(**row) for row in table.to_pylist()]


def count_reasons(rejected: Sequence[Rejection]) -> dict[str, int]:
    """Count rejections by kind: a reason starts with its kind, details follow a mark."""
    kinds = Counter(re.split(r"[:(;,]", entry.reason)[0].strip() for entry in rejected)
    return dict(kinds.most_common())


def _write_rejected(path: Path, rejected: Sequence[Rejection]) -> None:
    entries = sorted(rejected, key=lambda entry: entry.path)
    columns = {
        name: pa.array([getattr(entry, name) for entry in entries], pa.string())
        for name in ("path", "sha256", "reason")
    }
    with publishing(path) as temporary:
        pq.write_table(pa.table(columns), temporary, write_page_checksum=True)


def clean_up(folder: Path, manifest: Manifest) -> None:
    """Remove what no generation needs any more; readers that have it open keep it."""
    needed = {folder / record.path for record in manifest.records()}
    places = (shard_files.FOLDER, search_files.FOLDER)
    candidates = [path for place in places for path in (folder / place).rglob("*")]
    candidates += folder.glob("rejected-*.parquet")
    for path in candidates:
        if path.is_file() and path not in needed:
            path.unlink(missing_ok=True)
    for path in (folder / search_files.FOLDER).iterdir():
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    (folder / PLAN_NAME).unlink(missing_ok=True)
