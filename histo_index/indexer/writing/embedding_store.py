"""Embeddings of finished shards, found by the content of the tile."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from histo_index.arrays import Float16, Int64
from histo_index.indexer.format.shards import FACTS, embeddings_of, read_shard
from histo_index.indexer.writing.plan import FinishedShard, ShardTask


@dataclass(frozen=True, kw_only=True)
class StoredTile:
    """What a shard keeps of one tile."""

    embedding: npt.NDArray[Any]
    sha256: str
    width: int | None
    height: int | None
    note: str | None


class EmbeddingStore:
    """Embeddings of finished shards, found by the content of the tile."""

    def __init__(self, folder: Path, finished: Sequence[FinishedShard]) -> None:
        self._folder = folder
        self._shards = finished
        self._ends = np.cumsum([len(shard.rows) for shard in finished])
        self._opened: tuple[int, pa.Table, Float16] | None = None

    def locate(self, tasks: Sequence[ShardTask]) -> list[Int64]:
        """Find where each task's contents were encoded before: int64 [tiles], -1 if nowhere."""
        if not tasks:
            return []  # of nothing, `np.split` makes one piece
        known = [chunk for shard in self._shards for chunk in shard.rows["sha256"].chunks]
        wanted = [chunk for task in tasks for chunk in task.tiles["sha256"].chunks]
        # One look-up for all tasks: a look-up makes a hash table of all that is known.
        located = pc.index_in(
            pa.chunked_array(wanted, pa.string()), value_set=pa.chunked_array(known, pa.string())
        )
        found = pc.fill_null(located, -1).to_numpy().astype(np.int64)
        return np.split(found, np.cumsum([len(task.tiles) for task in tasks])[:-1])

    def holding(self, tasks: Sequence[ShardTask]) -> list[tuple[FinishedShard, ...]]:
        """Find the shards that hold some contents of each task."""
        return [
            tuple(
                self._shards[number]
                for number in np.unique(np.searchsorted(self._ends, known, side="right")).tolist()
            )
            for known in (found[found >= 0] for found in self.locate(tasks))
        ]

    def take(self, position: int) -> StoredTile:
        """Read what is kept of the tile at a position of the store.

        Raises:
            IndexFormatError: its shard was damaged since it was found whole.
        """
        number = self._number(position)
        row = position - (int(self._ends[number - 1]) if number else 0)
        table, embeddings = self._open(number)
        facts = {name: table[name][row].as_py() for name in FACTS}
        return StoredTile(embedding=embeddings[row], **facts)

    def runtime(self, position: int) -> Mapping[str, str]:
        """Return what computed the embedding of a row."""
        return self._shards[self._number(position)].receipt.runtime

    def _number(self, position: int) -> int:
        return int(np.searchsorted(self._ends, position, side="right"))

    def _open(self, number: int) -> tuple[pa.Table, Float16]:
        """Read a shard; tiles mostly come in shard order, so one is kept."""
        if self._opened is None or self._opened[0] != number:
            table = read_shard(self._folder, self._shards[number].receipt.file)
            self._opened = number, table, embeddings_of(table)
        return self._opened[1], self._opened[2]
