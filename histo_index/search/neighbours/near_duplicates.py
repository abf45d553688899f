"""Near-duplicates: tiles of the same image, also rescaled or recompressed."""

from typing import Final

import numpy as np

from histo_index.arrays import Float32, Int64
from histo_index.indexer.reader import OpenIndex
from histo_index.search.distance import pair_distances

NEAR: Final = 0.01
# Blocks of rows, spread over the index: every block that is touched is verified as a whole.
_SAMPLE_BLOCKS: Final = 8
_SAMPLE_ROWS: Final = 256


def near_limit(index: OpenIndex) -> float:
    """Compute the distance up to which two tiles of an index are near-duplicates.

    A hundredth of the median distance between tiles drawn at random, so that it means the same for
    every encoder, however narrow the cone that its embeddings lie in.
    """
    if len(index) < 2:
        return 0.0
    starts = np.linspace(0, max(0, len(index) - _SAMPLE_ROWS), _SAMPLE_BLOCKS).astype(np.int64)
    rows = np.unique(starts[:, None] + np.arange(_SAMPLE_ROWS))
    rows = rows[rows < len(index)]
    vectors = index.vectors(np.random.default_rng(0).permutation(rows))
    distances = pair_distances(vectors, np.roll(vectors, 1, axis=0))
    return NEAR * float(np.median(distances))


def drop_copies(
    index: OpenIndex, rows: Int64, distances: Float32, *, limit: float
) -> tuple[Int64, Float32]:
    """Leave out near-duplicates of the query, and of each set of them all but the nearest.

    Args:
        index: where the tiles are.
        rows: int64 [n], nearest first.
        distances: float32 [n], of each to the query.
        limit: up to this distance two tiles are near-duplicates.

    Returns:
        What is left of both, in the same order.
    """
    is_other = distances > limit
    rows, distances = rows[is_other], distances[is_other]
    vectors = index.vectors(rows)
    kept: list[int] = []
    for position in range(len(rows)):
        own = np.broadcast_to(vectors[position], (len(kept), vectors.shape[1]))
        if not (pair_distances(own, vectors[kept]) <= limit).any():
            kept.append(position)
    return rows[kept], distances[kept]
