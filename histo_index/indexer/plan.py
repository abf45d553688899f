"""Cut the work of a build into shard tasks, and find out what of it is already done.

The plan is a function of the wanted tiles and of the finished shards found on disk, whether an
index already names them or an interrupted build left them behind. Resuming, adding and removing
tiles are therefore one and the same case.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from histo_index.indexer.shards import EMBEDDING, FACTS, Receipt
from histo_index.indexer.sources import Rejection

# What a task must know about a tile besides the user's own columns.
_IDENTITY: Final = ("image_id", "path", "sha256")
_SEPARATOR: Final = "\x1f"


@dataclass(frozen=True, kw_only=True)
class FinishedShard:
    """A shard on disk that was found whole.

    Attributes:
        receipt: what its task did.
        rows: its table without the embeddings.
    """

    receipt: Receipt
    rows: pa.Table


@dataclass(frozen=True, kw_only=True)
class ShardTask:
    """A piece of work that always gives the same shard.

    Attributes:
        shard_id: hex digest over the encoder, the limits and the tiles.
        tiles: image_id, path, sha256 and the user's columns, in row order.
        position: of its first tile in the whole build, for the order of shards.
    """

    shard_id: str
    tiles: pa.Table
    position: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a build has to do and what it can keep.

    Attributes:
        kept: finished shards that stay as they are, with the position of their first tile.
        tasks: shards still to be written.
        rejected: tiles known to be unusable from an earlier, equal attempt.
    """

    kept: tuple[tuple[int, FinishedShard], ...]
    tasks: tuple[ShardTask, ...]
    rejected: tuple[Rejection, ...]


def make_plan(
    wanted: pa.Table,
    finished: Sequence[FinishedShard],
    known_rejected: Sequence[Rejection],
    *,
    fingerprint: str,
    max_pixels: int,
    shard_rows: int,
) -> Plan:
    """Decide which finished shards stay and cut the rest into tasks.

    A shard stays if each of its rows is still wanted exactly as it is. Where something is to be
    written anyway, shards less than half full join in, so that many small additions do not leave
    many small shards.

    Args:
        wanted: image_id, path, sha256 and the user's columns, a row per readable tile.
        finished: shards by this encoder found on disk.
        known_rejected: tiles that an earlier build with the same limits could not use.
        fingerprint: the encoder's.
        max_pixels: the decoding limit.
        shard_rows: tiles per task.
    """
    # Full shards first: an interrupted merge leaves a full one beside the small ones it replaces.
    ordered = sorted(finished, key=lambda shard: -shard.receipt.planned)
    cover = _Cover(wanted)
    kept = [(at, shard) for shard in ordered if (at := cover.claim(shard)) is not None]
    rejected = tuple(cover.claim_rejected(known_rejected))
    if not cover.done.all():
        for _, shard in [entry for entry in kept if 2 * entry[1].receipt.planned < shard_rows]:
            cover.release(shard)
        kept = [entry for entry in kept if 2 * entry[1].receipt.planned >= shard_rows]
    identity = f"{fingerprint} {max_pixels}"
    tasks = tuple(_cut(wanted, np.flatnonzero(~cover.done), shard_rows, identity))
    return Plan(kept=tuple(kept), tasks=tasks, rejected=rejected)


def user_columns(table: pa.Table) -> list[str]:
    """Name the columns that are the user's own."""
    ours = {*_IDENTITY, *FACTS, EMBEDDING}
    return [name for name in table.column_names if name not in ours]


class _Cover:
    """Which wanted tiles are already answered for."""

    def __init__(self, wanted: pa.Table) -> None:
        self.done = np.zeros(len(wanted), bool)
        self._schema = wanted.select(user_columns(wanted)).schema
        self._keys = _row_keys(wanted)
        self._contents = _join(wanted["path"], wanted["sha256"])

    def claim(self, shard: FinishedShard) -> int | None:
        """Take a shard if each of its rows is wanted and not covered yet."""
        places = self._places(shard)
        if places is None or not len(places) or self.done[places].any():
            return None
        self.done[places] = True
        return int(places.min())

    def release(self, shard: FinishedShard) -> None:
        places = self._places(shard)
        assert places is not None
        self.done[places] = False

    def claim_rejected(self, rejected: Sequence[Rejection]) -> Iterator[Rejection]:
        keys = _join(
            pa.array([entry.path for entry in rejected], pa.string()),
            pa.array([entry.sha256 for entry in rejected], pa.string()),
        )
        places = pc.index_in(keys, value_set=self._contents).to_pylist()
        for entry, place in zip(rejected, places, strict=True):
            if place is not None and not self.done[place]:
                self.done[place] = True
                yield entry

    def _places(self, shard: FinishedShard) -> npt.NDArray[np.int64] | None:
        if not shard.rows.select(user_columns(shard.rows)).schema.equals(self._schema):
            return None
        places = pc.index_in(_row_keys(shard.rows), value_set=self._keys)
        if places.null_count:
            return None
        result: npt.NDArray[np.int64] = places.to_numpy().astype(np.int64)
        return result


def _cut(
    wanted: pa.Table, rows: npt.NDArray[np.int64], shard_rows: int, identity: str
) -> Iterator[ShardTask]:
    for start in range(0, len(rows), shard_rows):
        places = rows[start : start + shard_rows]
        tiles = wanted.take(pa.array(places))
        digest = hashlib.sha256(identity.encode())
        digest.update(
            json.dumps([tiles.schema.to_string(), tiles.to_pylist()], default=str).encode()
        )
        yield ShardTask(shard_id=digest.hexdigest()[:32], tiles=tiles, position=int(places[0]))


def _row_keys(table: pa.Table) -> pa.Array:
    columns = [table[name] for name in (*_IDENTITY, *user_columns(table))]
    return _join(*columns)


def _join(*columns: Any) -> pa.Array:
    """Make one comparable string of each row."""
    texts = [column.cast(pa.string()) for column in columns]
    joined = pc.binary_join_element_wise(
        *texts, _SEPARATOR, null_handling="replace", null_replacement="\x00"
    )
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined
