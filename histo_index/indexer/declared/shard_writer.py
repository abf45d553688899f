"""Write embeddings that come block by block as shards, in flat memory."""

import hashlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from histo_index.arrays import Bools, Float16
from histo_index.hardware import usable_cores
from histo_index.indexer.declared.encoder import DeclaredRuntime
from histo_index.indexer.format.shards import (
    FACTS,
    Receipt,
    Rejection,
    receipt_path,
    record_file,
    shard_path,
    user_columns,
    write_receipt,
    write_shard,
)

# What an interruption costs is to write a shard again, and opening a file costs more than 32 MB.
_SHARD_BYTES: Final = 2**25
_LEAST_ROWS: Final = 1024
_MOST_BLOCKS: Final = 64
# Shards that wait until their bytes are on disk while others are packed.
_WAITING: Final = 2


@dataclass(frozen=True, kw_only=True)
class GivenRows:
    """A block of tiles that came with their embeddings.

    Attributes:
        tiles: `image_id` and `path`, maybe `width` and `height`, and the user's columns, of types
            that an index keeps; the same columns in each block.
        embeddings: float16 [n, D], rows of unit length.
        rejected: rows of the block that cannot be used, and are not in it.
    """

    tiles: pa.Table
    embeddings: Float16
    rejected: tuple[Rejection, ...] = ()


def choose_shard_rows(size: int) -> int:
    """Choose how many embeddings of a size a shard holds."""
    return min(max(_SHARD_BYTES // (2 * size) // _LEAST_ROWS, 1), _MOST_BLOCKS) * _LEAST_ROWS


class ShardWriter:
    """Cuts blocks into shards. Rows of a source count once `keep` is called after them.

    Sources of few rows share a shard. A source that ends in an error leaves nothing behind. Shards
    are written by threads, because packing takes longer than reading, and waits for the disk.
    """

    def __init__(
        self,
        folder: Path,
        encode: DeclaredRuntime,
        finished: Mapping[str, Receipt],
        *,
        shard_rows: int | None = None,
        leaves_out: Callable[[pa.Table], Bools] | None = None,
    ) -> None:
        """Begin to write.

        Args:
            folder: the index, held for writing.
            encode: what the embeddings are declared to be of.
            finished: whole shards that an interrupted build left, by id.
            shard_rows: rows of a shard; None chooses by their size.
            leaves_out: rows of a shard to which of them are not written.
        """
        self.shard_rows = shard_rows or choose_shard_rows(encode.embedding_size)
        self._folder, self._encode, self._finished = folder, encode, finished
        self._leaves_out = leaves_out
        self._shards: list[Future[Receipt]] = []
        self._kept: list[GivenRows] = []
        # Of the source that is not yet known to be whole.
        self._open: list[GivenRows] = []
        self._written: list[Future[Receipt]] = []
        self._most = usable_cores() + _WAITING
        self._threads = ThreadPoolExecutor(self._most)
        self._pending: deque[Future[Receipt]] = deque()

    def add(self, rows: GivenRows) -> None:
        """Take in rows of the present source."""
        self._open.append(rows)
        while _count(self._open) >= self.shard_rows:
            self._shards += self._write(self._kept)
            self._kept = []
            first, self._open = _cut(self._open, self.shard_rows)
            self._written += self._write(first)

    def keep(self) -> None:
        """End the present source: its rows count."""
        self._shards += self._written
        self._kept += self._open
        self._open, self._written = [], []
        if _count(self._kept) >= self.shard_rows:
            self._shards += self._write(self._kept)
            self._kept = []

    def drop(self) -> None:
        """End the present source: none of its rows count."""
        written = {shard.result().shard_id for shard in self._written}
        # Those that were there before may be of the committed generation.
        for shard_id in written - self._finished.keys():
            receipt_path(self._folder, shard_id).unlink(missing_ok=True)
            shard_path(self._folder, shard_id).unlink(missing_ok=True)
        self._open, self._written = [], []

    def finish(self) -> list[Receipt]:
        """Write what is left and return the receipts of all shards, in row order."""
        self._shards += self._write(self._kept)
        self._kept = []
        return [shard.result() for shard in self._shards]

    def close(self) -> None:
        """End the threads; shards that are not begun are not written."""
        self._threads.shutdown(cancel_futures=True)

    def _write(self, parts: Sequence[GivenRows]) -> list[Future[Receipt]]:
        if not _count(parts):
            return []
        # Each that waits holds its rows.
        while len(self._pending) >= self._most:
            self._pending.popleft().result()
        shard = self._threads.submit(self._write_shard, parts)
        self._pending.append(shard)
        return [shard]

    def _write_shard(self, parts: Sequence[GivenRows]) -> Receipt:
        embeddings = [np.ascontiguousarray(part.embeddings) for part in parts]
        rows = _with_facts(pa.concat_tables([part.tiles for part in parts]), embeddings)
        if self._leaves_out is not None and (is_out := self._leaves_out(rows)).any():
            rows, embeddings = rows.filter(pa.array(~is_out)), [np.concatenate(embeddings)[~is_out]]
        shard_id = _shard_id(self._encode.fingerprint, rows)
        receipt = self._finished.get(shard_id)
        if receipt is None:
            file = write_shard(self._folder, shard_id, rows, *embeddings)
            path = shard_path(self._folder, shard_id)
            receipt = Receipt(
                shard_id=shard_id,
                fingerprint=self._encode.fingerprint,
                max_pixels=self._encode.max_pixels,
                rows=len(rows),
                file=file or record_file(self._folder, path),
                rejected=(),
                runtime=self._encode.describe(),
            )
            write_receipt(receipt_path(self._folder, shard_id), receipt)
        return receipt


def _count(parts: Sequence[GivenRows]) -> int:
    return sum(len(part.tiles) for part in parts)


def _cut(parts: Sequence[GivenRows], count: int) -> tuple[list[GivenRows], list[GivenRows]]:
    """Cut blocks after so many rows."""
    first: list[GivenRows] = []
    rest: list[GivenRows] = []
    for part in parts:
        taken = min(count - _count(first), len(part.tiles))
        first += [_slice(part, 0, taken)] if taken else []
        rest += [_slice(part, taken, len(part.tiles))] if taken < len(part.tiles) else []
    return first, rest


def _slice(block: GivenRows, start: int, stop: int) -> GivenRows:
    return GivenRows(tiles=block.tiles[start:stop], embeddings=block.embeddings[start:stop])


def _with_facts(tiles: pa.Table, embeddings: Sequence[Float16]) -> pa.Table:
    """Put the columns of a shard in order; the content of a tile is that of its embedding."""
    tiles, count = tiles.combine_chunks(), len(tiles)
    digests = [hashlib.sha256(row).hexdigest() for part in embeddings for row in part]
    columns = {name: tiles[name] for name in ("image_id", "path")}
    columns["sha256"] = pa.chunked_array([digests], pa.string())
    for name in ("width", "height", "note"):
        known = name in tiles.column_names
        columns[name] = tiles[name] if known else pa.nulls(count, FACTS[name])
    return pa.table({**columns, **{name: tiles[name] for name in user_columns(tiles)}})


def _shard_id(fingerprint: str, rows: pa.Table) -> str:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    digest = hashlib.sha256(fingerprint.encode())
    digest.update(sink.getvalue())
    return digest.hexdigest()[:32]
