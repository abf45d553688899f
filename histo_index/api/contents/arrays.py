"""Read embeddings, vectors and columns of an open index."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from histo_index.arrays import Float16, Float32, Int64
from histo_index.errors import IndexFormatError, InputError
from histo_index.indexer.format.lookup import AMBIGUOUS
from histo_index.indexer.format.manifest import read_manifest
from histo_index.indexer.format.shards import EMBEDDING, embeddings_of, read_shard
from histo_index.indexer.private import private_among, refusal
from histo_index.indexer.reader import OpenIndex
from histo_index.progress import track
from histo_index.wording import printable

_HIDDEN: Final = "stem"
_BATCH_ROWS: Final = 65_536


def find_rows(index: OpenIndex, rows: Any) -> Int64:
    """Find rows of the index by position among its tiles, by mask, or by name.

    Args:
        index: the index.
        rows: None for all tiles; or positions 0…N-1 in the order of iteration, a boolean mask
            [N], or image ids and paths.

    Returns:
        int64 [n], rows of the index.

    Raises:
        InputError: there is no such tile.
    """
    live = index.live_rows()
    if rows is None:
        return live
    asked = np.asarray(rows)
    if asked.dtype.kind in "UO":
        return _find_names(index, [str(name) for name in asked.ravel()])
    if asked.dtype == bool:
        if asked.shape != live.shape:
            raise InputError(f"a mask of {asked.size:,} values; the index has {len(live):,} tiles")
        asked = np.flatnonzero(asked)
    if asked.size and asked.dtype.kind not in "iu":
        raise InputError(f"rows of type {asked.dtype}; expected whole numbers, a mask or names")
    positions = asked.ravel().astype(np.int64)
    is_outside = (positions < 0) | (positions >= len(live))
    if is_outside.any():
        raise InputError(
            f"row {positions[is_outside][0]:,}: no such tile; expected 0 to {len(live) - 1:,}"
        )
    found: Int64 = live[positions]
    return found


def _find_names(index: OpenIndex, names: Sequence[str]) -> Int64:
    found = index.find_names(pa.array(names, pa.string()))
    for name, row in zip(names, found.tolist(), strict=True):
        if row < 0:
            reason = "a name of several tiles" if row == AMBIGUOUS else "not in the index"
            raise InputError(f"{printable(name)}: {reason}; pass an image id")
    return found


def read_embeddings(index: OpenIndex, rows: Int64) -> Float32:
    """Read embeddings as they are stored.

    Args:
        index: the index.
        rows: int64 [n], rows of the index.

    Returns:
        float32 [n, D], rows of unit length within float16 rounding.

    Raises:
        IndexFormatError: a shard is damaged, or was replaced since the index was opened.
    """
    if index.manifest.distance is None:  # vectors are the embeddings, mapped
        return index.vectors(rows).astype(np.float32)
    found = np.empty((len(rows), index.manifest.embedding_size), np.float32)
    for chosen, own in track(_by_shard(index, rows), "reading", unit="shards"):
        found[chosen] = own
    return found


def _by_shard(index: OpenIndex, rows: Int64) -> Iterator[tuple[Int64, Float16]]:
    """Read each shard that holds some of the rows: positions int64 [n] and float16 [n, D]."""
    shards = index.manifest.shards
    ends = np.cumsum([shard.rows for shard in shards])
    numbers = np.searchsorted(ends, rows, side="right")
    for number in np.unique(numbers).tolist():
        chosen = np.flatnonzero(numbers == number)
        try:
            table = read_shard(index.folder, shards[number].file)
        except IndexFormatError as error:
            if read_manifest(index.folder).generation != index.manifest.generation:
                raise IndexFormatError(
                    f"{index.folder}: rebuilt since it was opened; open it again"
                ) from error
            raise
        start = int(ends[number]) - shards[number].rows
        yield chosen, embeddings_of(table)[rows[chosen] - start]


def read_table(index: OpenIndex, columns: Sequence[str] | None) -> pa.Table:
    """Select columns of the tiles, mapped from disk where no tile was removed.

    Args:
        index: the index.
        columns: names; None is all but `embedding`, which is read from the shards.

    Raises:
        InputError: there is no such column, or it is private.
    """
    known = [name for name in index.rows.column_names if name != _HIDDEN]
    chosen = known if columns is None else list(columns)
    for name in chosen:
        if private_among([name], index.hidden):
            raise refusal(name)
        if name not in (*known, EMBEDDING):
            found = ", ".join(map(printable, [*known, EMBEDDING]))
            raise InputError(f"{printable(name)}: no such column; the index has {found}")
    stored = index.rows.select([name for name in chosen if name != EMBEDDING])
    if index.is_live is not None:
        stored = stored.filter(pa.array(index.is_live))
    if EMBEDDING not in chosen:
        return stored
    embeddings = read_embeddings(index, index.live_rows())
    return pa.table(
        {name: _as_column(embeddings) if name == EMBEDDING else stored[name] for name in chosen}
    )


def _as_column(embeddings: npt.NDArray[np.float32]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(embeddings.ravel()), embeddings.shape[1])


def iterate_ids(index: OpenIndex) -> Iterator[str]:
    """Yield the image id of each tile, in row order."""
    for batch in read_table(index, ["image_id"]).to_batches(max_chunksize=_BATCH_ROWS):
        yield from batch.column(0).to_pylist()
