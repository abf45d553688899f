"""Commit a generation: derived files first, the manifest last, then remove what is not needed."""

import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pyarrow as pa

from histo_index.errors import MismatchError
from histo_index.files import remove_leftovers
from histo_index.indexer.format import shards as shard_files
from histo_index.indexer.format import vector_file
from histo_index.indexer.format.checksums import DamagedError
from histo_index.indexer.format.lock import writer_lock
from histo_index.indexer.format.manifest import (
    CALIBRATION_NAME,
    FEATURES,
    REMOVED,
    TRANSFORM,
    Manifest,
    read_manifest,
    write_manifest,
)
from histo_index.indexer.format.records import SearchConfig
from histo_index.indexer.format.shards import (
    EMBEDDING,
    Rejection,
    read_parquet,
    read_receipt,
    read_shard,
    write_parquet,
)
from histo_index.indexer.nearest.choose import announce_structure
from histo_index.indexer.transform.transform import (
    TRANSFORM_FILES,
    open_transform,
    require_distance,
    settle_distance,
)
from histo_index.indexer.writing.draft import library_versions
from histo_index.indexer.writing.plan import FinishedShard
from histo_index.indexer.writing.reuse import source_of
from histo_index.indexer.writing.search_files import derive

PLAN_NAME: Final = "plan.parquet"
# Roles of the files that each commit writes again.
_DERIVED: Final = {*vector_file.FILE_NAMES, TRANSFORM}

_log = logging.getLogger(__name__)


def commit(
    folder: Path,
    draft: Manifest,
    *,
    current: Manifest | None,
    rejected: Sequence[Rejection] | None = None,
    from_shards: bool = False,
    refit: bool = False,
) -> Manifest:
    """Write the derived files, then the manifest: the new generation is committed.

    Args:
        folder: the index.
        draft: what to commit; its generation, date and derived files are filled in here.
        current: what is committed now.
        rejected: the new list of inputs that could not be used; None keeps the draft's.
        from_shards: write search files from the shards alone; reuse nothing.
        refit: fit the distance even if it was fitted before.
    """
    generation = (current.generation if current else 0) + 1
    kept, distance = settle_distance(folder, draft, current, generation=generation, refit=refit)
    files = {role: r for role, r in draft.files.items() if role not in _DERIVED} | kept
    draft = replace(draft, generation=generation, files=files, distance=distance)
    transform = open_transform(folder, kept, kind=draft.distance_kind)
    records, structure = derive(
        folder,
        draft.shards,
        generation=generation,
        size=draft.vector_size,
        source=source_of(folder, draft, None if from_shards else current, transform),
        config=draft.settings.search,
    )
    files |= records
    if rejected is not None:
        path = folder / f"rejected-{generation:06d}.parquet"
        _write_rejected(path, rejected)
        files["rejected"] = shard_files.record_file(folder, path)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    manifest = replace(draft, created=created, files=files, structure=structure)
    write_manifest(folder, manifest)
    if current and manifest.distance_name != current.distance_name:
        _warn_of_calibration(folder)
    return manifest


def _warn_of_calibration(folder: Path) -> None:
    path = folder / CALIBRATION_NAME
    if path.exists():
        _log.warning(
            "%s: stale: fitted to the distances before; run `histo-index calibrate` again, or "
            "`histo-index calibrate --clear`",
            path,
        )


@contextmanager
def changing(folder: Path) -> Iterator[Manifest]:
    """Lock a finished index for writing, remove leftovers, and return its manifest.

    Raises:
        IndexFormatError: there is no index, or its manifest is damaged; nothing was touched.
        LockedError: another process is writing the index.
    """
    # Read before locking too: no lock file is left in a folder that is no index.
    read_manifest(folder)
    with writer_lock(folder):
        remove_leftovers(folder)
        yield read_manifest(folder)


def reindex(
    folder: Path, config: SearchConfig | None = None, *, distance: str | None = None
) -> Manifest:
    """Rebuild the search files from the shards, as a new generation.

    Args:
        folder: the index.
        config: how it is searched from now on; None for no change.
        distance: `plain`, or `diffused` to fit it again; None for no change.

    Raises:
        IndexFormatError: the manifest or a shard is missing or damaged.
        InputError: the index cannot be searched as asked.
        LockedError: another process is writing the index.
    """
    require_distance(distance)
    with changing(folder) as current:
        settings = replace(
            current.settings,
            search=config or current.settings.search,
            distance=distance or current.settings.distance,
        )
        announce_structure(current.rows, current.vector_size, settings.search)
        draft = replace(current, settings=settings, libraries=library_versions())
        refit = distance is not None
        manifest = commit(folder, draft, current=current, from_shards=True, refit=refit)
        # Not the shards: those of an interrupted build are still of use to the next one.
        _remove_old_search_files(folder, manifest)
        _remove(set(folder.glob(TRANSFORM_FILES)) - _needed(folder, manifest))
        return manifest


def finished_shards(folder: Path, fingerprint: str) -> list[FinishedShard]:
    """Find the shards on disk that were finished, each read and checked.

    A damaged one is removed; its tiles are encoded again.

    Raises:
        MismatchError: one is by another encoder.
        IndexFormatError: one cannot be read, or is of a newer version; nothing was removed.
    """
    found = []
    for path in sorted((folder / shard_files.FOLDER).glob("part-*.json")):
        try:
            receipt = read_receipt(path)
            if receipt.fingerprint != fingerprint:
                raise MismatchError(
                    f"{path} was finished by encoder {receipt.fingerprint} but this encoder is "
                    f"{fingerprint}; pass the matching encoder or build into a new folder"
                )
            rows = read_shard(folder, receipt.file, without=EMBEDDING)
        except DamagedError as error:
            _log.warning("%s", error)
            _remove([path, path.with_suffix(".parquet")])
            continue
        found.append(FinishedShard(receipt=receipt, rows=rows))
    # Without a receipt: its task was killed between the two, and will run again.
    finished = {folder / shard.receipt.file.path for shard in found}
    _remove(set((folder / shard_files.FOLDER).glob("part-*.parquet")) - finished)
    return found


def read_rejected(folder: Path, manifest: Manifest) -> list[Rejection]:
    """Read the inputs that could not be used.

    Raises:
        DamagedError: the list is missing or not as it was written.
        IndexFormatError: it cannot be read.
    """
    remedy = "run `histo-index build` again, which writes the list again"
    table = read_parquet(folder, manifest.files["rejected"], remedy=remedy)
    return [Rejection(**row) for row in table.to_pylist()]


def count_reasons(rejected: Sequence[Rejection]) -> dict[str, int]:
    """Count rejections by kind: a reason starts with its kind, details follow a mark."""
    kinds = Counter(re.split(r"[:(;,]", entry.reason)[0].strip() for entry in rejected)
    return dict(kinds.most_common())


def clean_up(folder: Path, manifest: Manifest) -> None:
    """Remove what a build leaves behind; readers that have it open keep it.

    Only files of our own names are removed, and never one that the manifest names.
    """
    _remove_old_search_files(folder, manifest)
    needed = _needed(folder, manifest)
    embeddings = folder / shard_files.FOLDER
    # Receipts first: a shard without one is no shard, a receipt without a shard would be damage.
    for pattern in ("part-*.json", "part-*.parquet"):
        _remove(set(embeddings.glob(pattern)) - needed)
    patterns = "rejected-*.parquet", f"{REMOVED}-*.parquet", f"{FEATURES}-*.json", TRANSFORM_FILES
    for pattern in patterns:
        _remove(set(folder.glob(pattern)) - needed)
    _remove([folder / PLAN_NAME])


def _remove_old_search_files(folder: Path, manifest: Manifest) -> None:
    needed = _needed(folder, manifest)
    for generation in (folder / vector_file.FOLDER).glob("[0-9]" * 6 + "*"):
        own = {generation / name for name in vector_file.FILE_NAMES.values()}
        _remove(own - needed)
        if not own & needed:
            _remove([generation / vector_file.BASELINES_NAME])
        if generation.is_dir() and not any(generation.iterdir()):
            generation.rmdir()


def _needed(folder: Path, manifest: Manifest) -> set[Path]:
    return {folder / record.path for record in manifest.records()}


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _write_rejected(path: Path, rejected: Sequence[Rejection]) -> None:
    entries = sorted(rejected, key=lambda entry: (entry.path, entry.reason))
    columns = {
        name: pa.array([getattr(entry, name) for entry in entries], pa.string())
        for name in ("path", "sha256", "reason")
    }
    write_parquet(path, pa.table(columns))
