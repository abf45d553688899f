"""Erase removed tiles from an index; only the hashes that keep them out stay."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from histo_index.indexer.format.checksums import DamagedError
from histo_index.indexer.format.manifest import CALIBRATION_NAME, TRANSFORM, Manifest
from histo_index.indexer.format.removed import Removed, read_removed, write_removed
from histo_index.indexer.format.shards import Rejection
from histo_index.indexer.hashing.cache import read_states, without_paths, write_states
from histo_index.indexer.removal.compact import rewrite
from histo_index.indexer.writing.commit import (
    changing,
    clean_up,
    commit,
    finished_shards,
    read_rejected,
)
from histo_index.indexer.writing.plan import FinishedShard


@dataclass(frozen=True, kw_only=True)
class PurgeReport:
    """What was erased of removed tiles.

    Attributes:
        contents: how many were purged now; their SHA-256 stay, which keep them out.
        rows: rows erased from shards and search files: embeddings and metadata.
        is_calibration_erased: the calibration was fitted with them, and is gone.
        is_distance_refitted: what turns embeddings into vectors was fitted again without them.
    """

    contents: int
    rows: int
    is_calibration_erased: bool
    is_distance_refitted: bool


def purge(folder: Path, contents: Collection[str] | None = None) -> PurgeReport:
    """Erase removed tiles from an index; only their hashes stay.

    Killed in between, the index is unchanged or purged, perhaps without its calibration; purging
    again finishes the work.

    Args:
        folder: the index.
        contents: SHA-256 of removed tiles; None is all of them.

    Raises:
        LockedError: another process is writing the index.
        IndexFormatError: the index is damaged.
    """
    with changing(folder) as current:
        removed = read_removed(folder, current)
        finished = finished_shards(folder, current.fingerprint)
        chosen = _purgeable(removed, current, finished)
        if contents is not None:
            chosen &= set(contents)
        manifest, had_calibration = current, (folder / CALIBRATION_NAME).exists()
        if chosen:
            manifest = _purge(folder, current, removed, finished, chosen)
        clean_up(folder, manifest)
        return PurgeReport(
            contents=len(chosen),
            rows=current.rows - manifest.rows,
            is_calibration_erased=bool(chosen) and had_calibration,
            is_distance_refitted=bool(chosen) and TRANSFORM in current.files,
        )


def _purgeable(removed: Removed, current: Manifest, finished: Sequence[FinishedShard]) -> set[str]:
    """Find removed contents that the index still stores or names."""
    named = removed.table.filter(pc.is_valid(removed.table["image_id"]))["sha256"].to_pylist()
    committed = {shard.shard_id for shard in current.shards}
    tables = [shard.rows for shard in finished if shard.receipt.shard_id in committed]
    stored = {content for rows in tables for content in rows["sha256"].to_pylist()}
    return set(named) | set(removed.contents.to_pylist()) & stored


def _purge(
    folder: Path,
    current: Manifest,
    removed: Removed,
    finished: Sequence[FinishedShard],
    chosen: set[str],
) -> Manifest:
    traces = _Traces.find(removed, finished, chosen)
    # All of these can be made again. They go first: once the record says that a tile is purged,
    # nothing of it is left but files that the manifest does not name.
    (folder / CALIBRATION_NAME).unlink(missing_ok=True)
    states = read_states(folder)
    write_states(folder, traces.without_states(states), before=states)
    receipts = [shard.receipt for shard in finished]
    tainted = {r.shard_id for r in receipts if any(map(traces.is_in, r.rejected))}
    draft = rewrite(folder, current, finished, pa.array(sorted(chosen)), tainted=tainted)
    generation = current.generation + 1
    record = write_removed(folder, traces.without_names(removed), generation=generation)
    rejected = traces.without_rejected(_known_rejected(folder, current))
    draft = replace(draft, files={**draft.files, **record}, rejected=len(rejected))
    # Not from the search files there are: what these learnt, they learnt from the tiles as well.
    return commit(
        folder,
        draft,
        current=current,
        rejected=rejected,
        from_shards=True,
        refit=TRANSFORM in current.files,
    )


@dataclass(frozen=True, kw_only=True)
class _Traces:
    """Where the folder names purged tiles.

    Attributes:
        contents: SHA-256.
        paths: paths.
        ids: image ids.
    """

    contents: set[str]
    paths: set[str]
    ids: set[str]

    @classmethod
    def find(
        cls, removed: Removed, finished: Sequence[FinishedShard], contents: set[str]
    ) -> "_Traces":
        wanted = pa.array(sorted(contents))
        tables = [removed.table, *(shard.rows for shard in finished)]
        found = [table.filter(pc.is_in(table["sha256"], value_set=wanted)) for table in tables]
        paths, ids = (
            {name for table in found for name in table[column].to_pylist() if name is not None}
            for column in ("path", "image_id")
        )
        return cls(contents=contents, paths=paths, ids=ids)

    def is_in(self, entry: Rejection) -> bool:
        return (
            entry.path in self.paths
            or entry.sha256 in self.contents
            # Of a row of a manifest whose image id another tile has.
            or entry.reason.partition(": ")[2] in self.ids
        )

    def without_rejected(self, rejected: Sequence[Rejection]) -> list[Rejection]:
        return [entry for entry in rejected if not self.is_in(entry)]

    def without_states(self, states: pa.Table) -> pa.Table:
        is_meant = pc.is_in(states["sha256"], value_set=pa.array(sorted(self.contents)))
        return without_paths(states.filter(pc.invert(is_meant)), self.paths)

    def without_names(self, removed: Removed) -> Removed:
        rows = []
        for row in removed.table.to_pylist():
            is_purged = row["sha256"] in self.contents
            if is_purged or row["path"] in self.paths or row["image_id"] in self.ids:
                row |= {"image_id": None, "path": None}
            rows.append(row | {"is_purged": row["is_purged"] or is_purged})
        return removed.only(rows)


def _known_rejected(folder: Path, current: Manifest) -> list[Rejection]:
    try:
        return read_rejected(folder, current)
    except DamagedError:
        return []  # the next build makes the list again
