"""What an index of embeddings keeps when it is brought up to date, and what stays out of it."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from histo_index.arrays import Bools
from histo_index.errors import InputError, MismatchError
from histo_index.indexer.declared.shard_writer import GivenRows
from histo_index.indexer.format.checksums import DamagedError
from histo_index.indexer.format.manifest import REMOVED, Manifest
from histo_index.indexer.format.records import FileRecord
from histo_index.indexer.format.removed import Removed, write_removed
from histo_index.indexer.format.shards import Receipt, embeddings_of, read_shard
from histo_index.indexer.writing.plan import FinishedShard


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Which rows of an index stay.

    Attributes:
        manifest: the generation that was looked at.
        is_kept: rows of a shard to which of them stay: bool [n].
        fill: brings rows to the columns of the new generation.
    """

    manifest: Manifest
    is_kept: Callable[[pa.Table], Bools]
    fill: Callable[[pa.Table], pa.Table]

    def require_present(self, folder: Path, present: Manifest, fingerprint: str) -> None:
        """Check that the index is as it was looked at, and of this encoder.

        Raises:
            InputError: another process changed it meanwhile.
            MismatchError: it is of another encoder or size.
        """
        if present.fingerprint != fingerprint:
            raise MismatchError(
                f"{folder} holds embeddings of {present.encoder.title}, "
                f"{present.embedding_size:,} numbers; import these into another folder"
            )
        if present.generation != self.manifest.generation:
            raise InputError(f"{folder} was changed meanwhile; import again")


@dataclass(frozen=True, kw_only=True)
class StoredRows:
    """Rows of a shard that are written again, because it does not stay as a whole."""

    folder: Path
    shard: FinishedShard
    mask: Bools
    fill: Callable[[pa.Table], pa.Table]

    @property
    def name(self) -> str:
        return self.shard.receipt.file.path

    def blocks(self) -> Iterator[GivenRows]:
        table = read_shard(self.folder, self.shard.receipt.file)
        rows = self.shard.rows.filter(pa.array(self.mask)).replace_schema_metadata(None)
        yield GivenRows(tiles=self.fill(rows), embeddings=embeddings_of(table)[self.mask])


def split_shards(
    folder: Path,
    stored: Stored,
    finished: Sequence[FinishedShard],
    removed: Removed,
    *,
    shard_rows: int | None,
) -> tuple[list[Receipt], list[StoredRows]]:
    """Choose the shards that stay as they are, and the rows of others that are written again.

    Args:
        folder: the index.
        stored: which rows stay.
        finished: all whole shards.
        removed: rows that are not written again.
        shard_rows: rows of a full shard; those less than half full are written again. None if
            nothing else is written.

    Raises:
        DamagedError: a shard is not there, or was damaged and is gone.
    """
    by_id = {shard.receipt.shard_id: shard for shard in finished}
    kept, again = [], []
    for record in stored.manifest.shards:
        if (shard := by_id.get(record.shard_id)) is None:
            raise DamagedError(
                f"{folder / record.file.path}: missing or damaged; delete {folder} and import again"
            )
        is_live = ~removed.find(shard.rows)
        mask = stored.is_kept(shard.rows)
        is_alike = stored.fill(shard.rows.slice(0, 0)).schema == _own(shard.rows).schema
        is_small = shard_rows is not None and 2 * record.rows < shard_rows
        if mask.all() and is_alike and not is_small:
            kept.append(shard.receipt)
        elif (mask & is_live).any():
            again.append(
                StoredRows(folder=folder, shard=shard, mask=mask & is_live, fill=stored.fill)
            )
    return kept, again


def _own(rows: pa.Table) -> pa.Table:
    return rows.drop_columns(["sha256", "note"])


class Leaving:
    """Leaves out of new shards what was removed before, by content and by standing rules."""

    def __init__(self, removed: Removed, private: Collection[str]) -> None:
        """Begin with the record of what was removed."""
        self.removed = removed
        self._private, self._before, self._lock = private, removed, Lock()

    def __call__(self, rows: pa.Table) -> Bools:
        """Return which rows stay out: bool [n]."""
        if not len(self._before.table):
            return np.zeros(len(rows), bool)
        with self._lock:
            left = self.removed.leave_out(rows, self._private)
            self.removed = left.removed
        found: Bools = pc.is_in(
            rows["path"], value_set=pa.array(left.paths, pa.string())
        ).to_numpy()
        return found

    def record(self, folder: Path, current: Manifest | None) -> dict[str, FileRecord]:
        """Write the record if it has grown: role to file, empty if nothing is removed."""
        known = current.files.get(REMOVED) if current else None
        if known is not None and self.removed is self._before:
            return {REMOVED: known}
        generation = current.generation + 1 if current else 1
        return write_removed(folder, self.removed, generation=generation)
