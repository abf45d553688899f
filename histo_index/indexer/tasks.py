"""Carry out shard tasks: encode what is new, copy what some finished shard already holds."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from histo_index.errors import ImageError
from histo_index.indexer.checksums import file_checksum
from histo_index.indexer.encode import Encode, Encoded
from histo_index.indexer.plan import FinishedShard, ShardTask, user_columns
from histo_index.indexer.shards import (
    FACTS,
    Halves,
    Receipt,
    embeddings_of,
    read_shard,
    receipt_path,
    shard_path,
    write_receipt,
    write_shard,
)
from histo_index.indexer.sources import Rejection


@dataclass(frozen=True, kw_only=True)
class Step:
    """One tile that was dealt with: `encoded`, `copied` or `rejected`."""

    outcome: str


Progress = Callable[[Step], None]


@dataclass(frozen=True, kw_only=True)
class _Facts:
    """What a shard keeps of one tile."""

    embedding: npt.NDArray[Any]
    sha256: str
    width: int
    height: int
    note: str | None


class EmbeddingStore:
    """Embeddings of finished shards, found by the content of the tile."""

    def __init__(self, folder: Path, finished: Sequence[FinishedShard]) -> None:
        self._folder = folder
        self._shards = finished
        contents = [shard.rows["sha256"].combine_chunks() for shard in finished]
        self._contents = pa.concat_arrays(contents) if contents else pa.array([], pa.string())
        self._ends = np.cumsum([len(content) for content in contents])
        self._opened: tuple[int, pa.Table, Halves] | None = None

    def locate(self, tiles: pa.Table) -> list[int | None]:
        """Find where each tile's content was encoded before; None if nowhere."""
        places: list[int | None] = pc.index_in(
            tiles["sha256"], value_set=self._contents
        ).to_pylist()
        return places

    def take(self, place: int) -> _Facts:
        """Read what is kept of the tile at a place.

        Raises:
            IndexFormatError: its shard was damaged since it was found whole.
        """
        number = int(np.searchsorted(self._ends, place, side="right"))
        row = place - (int(self._ends[number - 1]) if number else 0)
        table, embeddings = self._open(number)
        facts = {name: table[name][row].as_py() for name in FACTS}
        return _Facts(embedding=embeddings[row], **facts)

    def runtime(self, place: int) -> Mapping[str, Any]:
        """Say what computed the embedding at a place."""
        number = int(np.searchsorted(self._ends, place, side="right"))
        return self._shards[number].receipt.runtime

    def _open(self, number: int) -> tuple[pa.Table, Halves]:
        """Read a shard; tiles mostly come in shard order, so one is kept."""
        if self._opened is None or self._opened[0] != number:
            receipt = self._shards[number].receipt
            path = shard_path(self._folder, receipt.shard_id)
            table = read_shard(path, size=receipt.bytes, expected=receipt.checksum)
            self._opened = number, table, embeddings_of(table)
        return self._opened[1], self._opened[2]


def run_tasks(
    tasks: Sequence[ShardTask],
    encode: Encode,
    store: EmbeddingStore,
    *,
    folder: Path,
    root: Path,
    progress: Progress,
) -> Iterator[Receipt]:
    """Carry out tasks one after the other, as one stream through the encoder.

    Args:
        tasks: what to write.
        encode: the encoder.
        store: what need not be encoded again.
        folder: the index.
        root: the folder that tile paths are relative to.
        progress: told about every tile.

    Yields:
        A receipt as each shard is finished.

    Raises:
        OSError: the disk is full or not writable; finished shards stay.
    """
    places = [store.locate(task.tiles) for task in tasks]
    # Read ahead by the encoder, which is why it is a generator of its own.
    paths = (
        root / path
        for task, found in zip(tasks, places, strict=True)
        for path, place in zip(task.tiles["path"].to_pylist(), found, strict=True)
        if place is None
    )
    encoded = iter(encode.encode_files(paths)) if _any_new(places) else iter(())
    for task, found in zip(tasks, places, strict=True):
        yield _run_task(task, found, encoded, encode, store, folder=folder, progress=progress)


def _any_new(places: Sequence[Sequence[int | None]]) -> bool:
    return any(place is None for found in places for place in found)


def _run_task(
    task: ShardTask,
    places: Sequence[int | None],
    encoded: Iterator[Encoded | ImageError],
    encode: Encode,
    store: EmbeddingStore,
    *,
    folder: Path,
    progress: Progress,
) -> Receipt:
    kept: list[int] = []
    facts: list[_Facts | Encoded] = []
    rejected: list[Rejection] = []
    for row, (place, path, sha256) in enumerate(
        zip(places, task.tiles["path"].to_pylist(), task.tiles["sha256"].to_pylist(), strict=True)
    ):
        outcome = next(encoded) if place is None else store.take(place)
        reason = _problem(outcome, path, sha256)
        if reason is None:
            assert not isinstance(outcome, ImageError)
            kept.append(row)
            facts.append(outcome)
            progress(Step(outcome="encoded" if place is None else "copied"))
        else:
            rejected.append(Rejection(path=path, sha256=sha256, reason=reason))
            progress(Step(outcome="rejected"))
    runtime = encode.describe() if None in places else store.runtime(places[0] or 0)
    tiles = task.tiles.take(pa.array(kept, pa.int64()))
    return _publish(task.shard_id, tiles, facts, rejected, runtime, encode=encode, folder=folder)


def _problem(outcome: Encoded | _Facts | ImageError, path: str, sha256: str) -> str | None:
    if isinstance(outcome, ImageError):
        # The message names the file as it was opened; the row names it relative to the root.
        message = str(outcome)
        return message.split(f"{path}: ", 1)[-1]
    if outcome.sha256 != sha256:
        return "changed while the index was being built: run the build again"
    return None


def _publish(
    shard_id: str,
    tiles: pa.Table,
    facts: Sequence[_Facts | Encoded],
    rejected: Sequence[Rejection],
    runtime: Mapping[str, Any],
    *,
    encode: Encode,
    folder: Path,
) -> Receipt:
    columns = {"image_id": tiles["image_id"], "path": tiles["path"]}
    for name, kind in FACTS.items():
        columns[name] = pa.chunked_array(pa.array([getattr(fact, name) for fact in facts], kind))
    for name in user_columns(tiles):
        columns[name] = tiles[name]
    embeddings = np.zeros((len(facts), encode.embedding_size), np.float16)
    for row, fact in enumerate(facts):
        embeddings[row] = fact.embedding
    path = shard_path(folder, shard_id)
    write_shard(path, pa.table(columns), embeddings, shard_id=shard_id)
    receipt = Receipt(
        shard_id=shard_id,
        fingerprint=encode.fingerprint,
        max_pixels=encode.max_pixels,
        rows=len(facts),
        bytes=path.stat().st_size,
        checksum=file_checksum(path),
        rejected=tuple(rejected),
        runtime=dict(runtime),
    )
    write_receipt(receipt_path(folder, shard_id), receipt)
    return receipt
