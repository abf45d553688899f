"""Read the stored embeddings of an index, as the encoder computed them."""

from collections.abc import Iterator

import numpy as np

from histo_index.arrays import Float16, Int64
from histo_index.indexer.format.shards import embeddings_of, read_shard
from histo_index.indexer.reader import OpenIndex


def read_embeddings(index: OpenIndex, rows: Int64) -> Float16:
    """Read the embeddings of some tiles.

    Where distances are plain they are the vectors; else each shard that holds one of the rows is
    read once.

    Args:
        index: the index.
        rows: int64 [n], each 0 to N-1.

    Returns:
        float16 [n, D], rows of length 1 within rounding, in the order of `rows`.

    Raises:
        IndexFormatError: a shard or the vectors file is missing or damaged.
    """
    if index.transform is None:
        return index.vectors(rows)
    found = np.empty((len(rows), index.manifest.embedding_size), np.float16)
    start = 0
    for shard in index.manifest.shards:
        is_here = (rows >= start) & (rows < start + shard.rows)
        if is_here.any():
            table = read_shard(index.folder, shard.file)
            found[is_here] = embeddings_of(table)[rows[is_here] - start]
        start += shard.rows
    return found


def iterate_embeddings(index: OpenIndex, rows: Int64) -> Iterator[Float16]:
    """Read the embeddings of some tiles, a shard at a time: float16 [n, D] each.

    Args:
        index: the index.
        rows: int64 [n], ascending.

    Raises:
        IndexFormatError: a shard or the vectors file is missing or damaged.
    """
    ends = np.cumsum([shard.rows for shard in index.manifest.shards])
    for own in np.split(rows, np.searchsorted(rows, ends[:-1])):
        if len(own):
            yield read_embeddings(index, own)
