"""Carry out shard tasks: encode what is new, copy what some finished shard already holds."""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from histo_index.arrays import Float16, Int64
from histo_index.errors import ImageError
from histo_index.indexer.encoder_protocol import Encode, Encoded
from histo_index.indexer.format.shards import (
    EMBEDDING,
    FACTS,
    Receipt,
    Rejection,
    embeddings_of,
    read_shard,
    receipt_path,
    record_file,
    shard_path,
    user_columns,
    write_receipt,
    write_shard,
)
from histo_index.indexer.hashing.files import hash_file
from histo_index.indexer.writing.plan import FinishedShard, ShardTask


@dataclass(frozen=True, kw_only=True)
class Step:
    """One tile that was dealt with: `encoded`, `copied` or `rejected`."""

    outcome: str


_NOT_USED: Final = "could not be used by a worker that was lost: run the build again"

Progress = Callable[[Step], None]


@dataclass(frozen=True, kw_only=True)
class _Facts:
    """What a shard keeps of one tile."""

    embedding: npt.NDArray[Any]
    sha256: str
    width: int | None
    height: int | None
    note: str | None


@dataclass(kw_only=True)
class _Filled:
    """The finished tiles of a task so far."""

    kept: list[int] = field(default_factory=list)
    facts: list[_Facts | Encoded] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)
    runtimes: list[Mapping[str, str]] = field(default_factory=list)


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

    def take(self, position: int) -> _Facts:
        """Read what is kept of the tile at a position of the store.

        Raises:
            IndexFormatError: its shard was damaged since it was found whole.
        """
        number = self._number(position)
        row = position - (int(self._ends[number - 1]) if number else 0)
        table, embeddings = self._open(number)
        facts = {name: table[name][row].as_py() for name in FACTS}
        return _Facts(embedding=embeddings[row], **facts)

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


def run_tasks(
    tasks: Sequence[ShardTask],
    encode: Encode,
    *,
    store: EmbeddingStore,
    folder: Path,
    root: Path,
    progress: Progress,
    encoded: Iterator[Encoded | ImageError] | None = None,
    labels: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Receipt]:
    """Carry out tasks one after the other, as one stream through the encoder.

    Args:
        tasks: what to write.
        encode: the encoder.
        store: what need not be encoded again.
        folder: the index.
        root: the folder that tile paths are relative to.
        progress: called for every tile.
        encoded: results of the encoder over all tiles of the tasks, if it was started before.
        labels: recorded beside the runtime of what is encoded.

    Yields:
        A receipt as each shard is finished.

    Raises:
        OSError: the disk is full or not writable; finished shards stay.
    """
    located = store.locate(tasks)
    # A separate generator, because the encoder reads ahead.
    paths = (
        root / path
        for task, found in zip(tasks, located, strict=True)
        for path, position in zip(task.tiles["path"].to_pylist(), found, strict=True)
        if position < 0
    )
    is_any_new = any((found < 0).any() for found in located)
    if encoded is None:
        encoded = iter(encode.encode_files(paths)) if is_any_new else iter(())
    for task, found in zip(tasks, located, strict=True):
        filled = _fill(task, found, encoded=encoded, store=store, root=root, progress=progress)
        if (found < 0).any():
            filled.runtimes.append({**encode.describe(), **labels})
        yield _publish(task, filled, encode=encode, folder=folder)


def _fill(
    task: ShardTask,
    located: Int64,
    *,
    encoded: Iterator[Encoded | ImageError],
    store: EmbeddingStore,
    root: Path,
    progress: Progress,
) -> _Filled:
    filled = _Filled()
    tiles = zip(task.tiles["path"].to_pylist(), task.tiles["sha256"].to_pylist(), strict=True)
    for row, ((path, sha256), position) in enumerate(zip(tiles, located.tolist(), strict=True)):
        if position >= 0:
            outcome: _Facts | Encoded | ImageError = store.take(position)
            filled.runtimes.append(store.runtime(position))
        else:
            outcome = next(encoded)
        rejection = _rejection(outcome, path, sha256, root=root)
        if rejection is not None:
            filled.rejected.append(rejection)
            progress(Step(outcome="rejected"))
            continue
        assert not isinstance(outcome, ImageError)
        filled.kept.append(row)
        filled.facts.append(_with_digest(outcome, sha256))
        progress(Step(outcome="encoded" if position < 0 else "copied"))
    return filled


def _rejection(
    outcome: Encoded | _Facts | ImageError, path: str, sha256: str, *, root: Path
) -> Rejection | None:
    """Return why a tile cannot be used; None if it can.

    Only what lies in the content is put down with its hash, which keeps the next build from trying
    again: a file that was changed or out of reach meanwhile gets another try.
    """
    if not isinstance(outcome, ImageError):
        return None if _is_same(outcome, root / path, sha256) else _changed(path)
    # The message names the file as it was opened; the row names it relative to the root.
    reason = str(outcome).split(f"{path}: ", 1)[-1]
    try:
        is_same = hash_file(root / path) == sha256
    except OSError:
        return Rejection(path=path, reason=reason)
    return Rejection(path=path, sha256=sha256, reason=reason) if is_same else _changed(path)


def _changed(path: str) -> Rejection:
    reason = "changed while the index was being built: run the build again"
    return Rejection(path=path, reason=reason)


def _is_same(outcome: Encoded | _Facts, path: Path, sha256: str) -> bool:
    """Return whether a tile was encoded from the content that was hashed before.

    A decoder does not hash the slide of a tile: its state is compared, after it was read.
    """
    try:
        return (outcome.sha256 or hash_file(path)) == sha256
    except OSError:
        return False


def _with_digest(outcome: Encoded | _Facts, sha256: str) -> Encoded | _Facts:
    if outcome.sha256:
        return outcome
    return _Facts(
        embedding=outcome.embedding, sha256=sha256, width=outcome.width, height=outcome.height,
        note=outcome.note,
    )  # fmt: skip


def _shard_rows(task: ShardTask, filled: _Filled) -> pa.Table:
    tiles = task.tiles.take(pa.array(filled.kept, pa.int64()))
    columns = {"image_id": tiles["image_id"], "path": tiles["path"]}
    for name, kind in FACTS.items():
        columns[name] = pa.chunked_array([[getattr(fact, name) for fact in filled.facts]], kind)
    for name in user_columns(tiles):
        columns[name] = tiles[name]
    return pa.table(columns)


def _publish(task: ShardTask, filled: _Filled, *, encode: Encode, folder: Path) -> Receipt:
    rows = _shard_rows(task, filled)
    embeddings = np.zeros((len(filled.facts), encode.embedding_size), np.float16)
    for row, fact in enumerate(filled.facts):
        assert fact.embedding.shape == (encode.embedding_size,), fact.embedding.shape
        embeddings[row] = fact.embedding
    file, ids = write_shard(folder, task.shard_id, rows, embeddings), rows["image_id"]
    if file is None:  # there is one by a worker that was lost
        file = record_file(folder, shard_path(folder, task.shard_id))
        ids = read_shard(folder, file, without=EMBEDDING)["image_id"]
    stored = set(ids.to_pylist())
    receipt = Receipt(
        shard_id=task.shard_id,
        fingerprint=encode.fingerprint,
        max_pixels=encode.max_pixels,
        rows=len(stored),
        file=file,
        rejected=_rejected(task, filled, stored),
        runtime=_merge(filled.runtimes),
    )
    write_receipt(receipt_path(folder, task.shard_id), receipt)
    return receipt


def _rejected(task: ShardTask, filled: _Filled, stored: Set[str]) -> tuple[Rejection, ...]:
    """Return the tiles of a task that are not in its shard.

    The shard may be that of another worker, which was first and was lost before its receipt: then
    it could use other tiles than this one.
    """
    known = {rejection.path: rejection for rejection in filled.rejected}
    names = zip(task.tiles["image_id"].to_pylist(), task.tiles["path"].to_pylist(), strict=True)
    missing = [path for image_id, path in names if image_id not in stored]
    return tuple(known.get(path, Rejection(path=path, reason=_NOT_USED)) for path in missing)


def _merge(runtimes: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Merge runtimes into one record; different values are joined by a comma."""
    merged: dict[str, dict[str, None]] = {}
    for runtime in runtimes:
        for name, value in runtime.items():
            merged.setdefault(name, {})[str(value)] = None
    return {name: ", ".join(values) for name, values in merged.items()}
