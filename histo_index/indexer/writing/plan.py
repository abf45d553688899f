"""Divide a build into shard tasks, and find those that are already done.

The plan is a function of the wanted tiles and of the finished shards found on disk, whether an
index already names them or an interrupted build left them behind. Resuming, adding and removing
tiles are therefore one and the same case.
"""

import hashlib
import itertools
import json
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from histo_index.arrays import Int64
from histo_index.indexer.format.manifest import Manifest
from histo_index.indexer.format.shards import (
    IDENTITY,
    Receipt,
    Rejection,
    user_columns,
)

_SEPARATOR: Final = "\x1f"
_ESCAPE: Final = "\x1e"


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
        rejected: tiles known to be unusable: from an earlier, equal attempt, or by their size.
    """

    kept: tuple[tuple[int, FinishedShard], ...]
    tasks: tuple[ShardTask, ...]
    rejected: tuple[Rejection, ...]


def make_plan(
    wanted: pa.Table,
    finished: Sequence[FinishedShard],
    *,
    known_rejected: Sequence[Rejection],
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
    cover = _Cover(wanted)
    # First, so that no shard stays that holds one of them.
    rejected = list(cover.claim_too_large(_too_large(finished, max_pixels), max_pixels))
    kept = cover.claim(finished)
    rejected += cover.claim_rejected(known_rejected)
    if not cover.done.all():
        small = [entry for entry in kept if 2 * entry[1].receipt.planned < shard_rows]
        for positions, _ in small:
            cover.done[positions] = False
        kept = [entry for entry in kept if 2 * entry[1].receipt.planned >= shard_rows]
    in_place = [(int(positions.min()), shard) for positions, shard in kept]
    # A shard that lacks tiles which are now tried again keeps its name: the new one gets another.
    partial = {s.receipt.shard_id for s in finished if s.receipt.rejected}
    whole = {s.receipt.shard_id: s for s in finished if not s.receipt.rejected}
    identity = f"{fingerprint} {max_pixels}"
    cut = list(_cut(wanted, np.flatnonzero(~cover.done), shard_rows, identity, taken=partial))
    in_place += [(t.position, whole[t.shard_id]) for t in cut if t.shard_id in whole]
    tasks = tuple(task for task in cut if task.shard_id not in whole)
    return Plan(kept=tuple(in_place), tasks=tasks, rejected=tuple(rejected))


def in_row_order(
    receipts: Iterable[tuple[int, Receipt]], current: Manifest | None
) -> list[Receipt]:
    """Sort shards: committed ones in their order, so that rows stay, then new ones.

    Args:
        receipts: with the position of each shard's first tile in the whole build.
        current: what is committed; None in a first build.
    """
    committed = current.shards if current else ()
    ranks = {shard.shard_id: rank for rank, shard in enumerate(committed)}

    def rank(entry: tuple[int, Receipt]) -> tuple[int, int]:
        return ranks.get(entry[1].shard_id, len(ranks)), entry[0]

    return [receipt for _, receipt in sorted(receipts, key=rank)]


class _Cover:
    """The wanted tiles that need no task."""

    def __init__(self, wanted: pa.Table) -> None:
        self.done = np.zeros(len(wanted), bool)
        self._wanted = wanted

    def claim(self, finished: Sequence[FinishedShard]) -> list[tuple[Int64, FinishedShard]]:
        """Claim shards whose rows are all wanted and not yet covered, with their rows."""
        found = _find_rows(finished, self._wanted)
        # Those with most rows first: an interrupted merge leaves its shard beside the small ones.
        order = sorted(range(len(finished)), key=lambda number: -finished[number].receipt.rows)
        claimed = []
        for number in order:
            positions = found[number]
            if len(positions) and (positions >= 0).all() and not self.done[positions].any():
                self.done[positions] = True
                claimed.append((positions, finished[number]))
        return claimed

    def claim_too_large(
        self, sizes: Mapping[str, tuple[int, int]], max_pixels: int
    ) -> Iterator[Rejection]:
        """Reject tiles known to be over the pixel limit, in the encoder's words."""
        known = pa.array(list(sizes), pa.string())
        positions = np.flatnonzero(pc.is_in(self._wanted["sha256"], value_set=known).to_numpy())
        self.done[positions] = True
        for tile in self._wanted.select(["path", "sha256"]).take(pa.array(positions)).to_pylist():
            width, height = sizes[tile["sha256"]]
            yield Rejection(
                path=tile["path"],
                sha256=tile["sha256"],
                reason=f"too large: {width}×{height} pixels, the limit is {max_pixels:,}; "
                "cut it into tiles or raise --max-pixels",
            )

    def claim_rejected(self, rejected: Sequence[Rejection]) -> Iterator[Rejection]:
        """Reuse rejections of wanted tiles with the same content."""
        keys = _join(
            pa.chunked_array([[entry.path for entry in rejected]], pa.string()),
            pa.chunked_array([[entry.sha256 for entry in rejected]], pa.string()),
        )
        contents = _join(self._wanted["path"], self._wanted["sha256"])
        for entry, position in zip(rejected, _find(keys, contents).tolist(), strict=True):
            if position >= 0 and not self.done[position]:
                self.done[position] = True
                yield entry


def _too_large(finished: Sequence[FinishedShard], max_pixels: int) -> dict[str, tuple[int, int]]:
    """Find contents that were encoded under a higher limit: sha256 to width and height."""
    found = {}
    for shard in finished:
        if shard.receipt.max_pixels > max_pixels:
            width, height = (shard.rows[name].cast(pa.int64()) for name in ("width", "height"))
            large = shard.rows.filter(pc.greater(pc.multiply(width, height), max_pixels))
            for row in large.select(["sha256", "width", "height"]).to_pylist():
                found[row["sha256"]] = row["width"], row["height"]
    return found


def _find_rows(finished: Sequence[FinishedShard], wanted: pa.Table) -> list[Int64]:
    """Find where the rows of each shard are wanted: int64 [rows], -1 where not as they are."""
    columns = user_columns(wanted)
    schema = wanted.select(columns).schema
    keys: list[pa.Array] = []
    counts = []
    for shard in finished:
        is_alike = shard.rows.select(user_columns(shard.rows)).schema.equals(schema)
        keys += _row_keys(shard.rows, columns).chunks if is_alike else []
        counts.append(len(shard.rows) if is_alike else 0)
    # One look-up for all: a look-up makes a hash table of all that is wanted.
    positions = _find(pa.chunked_array(keys, pa.large_string()), _row_keys(wanted, columns))
    return np.split(positions, np.cumsum(counts)[:-1]) if counts else []


def _find(keys: pa.ChunkedArray, among: pa.ChunkedArray) -> Int64:
    positions = pc.fill_null(pc.index_in(keys, value_set=among), -1)
    return np.asarray(positions.to_numpy(), np.int64)


def _cut(
    wanted: pa.Table, rows: Int64, shard_rows: int, identity: str, *, taken: Container[str]
) -> Iterator[ShardTask]:
    for start in range(0, len(rows), shard_rows):
        positions = rows[start : start + shard_rows]
        tiles = wanted.take(pa.array(positions))
        kinds = [[field.name, str(field.type)] for field in tiles.schema]
        content = json.dumps([kinds, tiles.to_pylist()], default=str)
        names = (
            hashlib.sha256(f"{identity} {attempt} {content}".encode()).hexdigest()[:32]
            for attempt in itertools.count()
        )
        shard_id = next(name for name in names if name not in taken)
        yield ShardTask(shard_id=shard_id, tiles=tiles, position=int(positions[0]))


def _row_keys(table: pa.Table, columns: Sequence[str]) -> pa.ChunkedArray:
    return _join(*(table[name] for name in (*IDENTITY, *columns)))


def _join(*columns: pa.ChunkedArray) -> pa.ChunkedArray:
    """Join each row to one string; different rows give different strings."""
    texts = []
    for column in columns:
        # Large strings: ten million rows of them are more than the 2 GB of plain ones.
        text = column.cast(pa.large_string())
        for mark, escaped in ((_ESCAPE, f"{_ESCAPE}e"), (_SEPARATOR, f"{_ESCAPE}s")):
            text = pc.replace_substring(text, mark, escaped)
        texts.append(text)
    return pc.binary_join_element_wise(
        *texts,
        pa.scalar(_SEPARATOR, pa.large_string()),
        null_handling="replace",
        null_replacement=f"{_ESCAPE}n",
    )
