"""Carry out shard tasks: encode what is new, copy what some finished shard already holds."""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
import pyarrow as pa

from histo_index.arrays import Int64
from histo_index.errors import ImageError
from histo_index.indexer.encoder_protocol import Encode, Encoded
from histo_index.indexer.format.shards import (
    EMBEDDING,
    FACTS,
    Receipt,
    Rejection,
    read_shard,
    receipt_path,
    record_file,
    shard_path,
    user_columns,
    write_receipt,
    write_shard,
)
from histo_index.indexer.hashing.files import hash_file
from histo_index.indexer.writing.embedding_store import EmbeddingStore, StoredTile
from histo_index.indexer.writing.plan import ShardTask


@dataclass(frozen=True, kw_only=True)
class Step:
    """One tile that was dealt with: `encoded`, `copied` or `rejected`."""

    outcome: str


_NOT_USED: Final = "could not be used by a worker that was lost: run the build again"

Progress = Callable[[Step], None]


@dataclass(kw_only=True)
class _Filled:
    """The finished tiles of a task so far."""

    kept: list[int] = field(default_factory=list)
    facts: list[StoredTile | Encoded] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)
    runtimes: list[Mapping[str, str]] = field(default_factory=list)


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
            outcome: StoredTile | Encoded | ImageError = store.take(position)
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
    outcome: Encoded | StoredTile | ImageError, path: str, sha256: str, *, root: Path
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


def _is_same(outcome: Encoded | StoredTile, path: Path, sha256: str) -> bool:
    """Return whether a tile was encoded from the content that was hashed before.

    A decoder does not hash the slide of a tile: its state is compared, after it was read.
    """
    try:
        return (outcome.sha256 or hash_file(path)) == sha256
    except OSError:
        return False


def _with_digest(outcome: Encoded | StoredTile, sha256: str) -> Encoded | StoredTile:
    if outcome.sha256:
        return outcome
    return StoredTile(
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
