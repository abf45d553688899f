"""The plane of the two principal components: where tiles are before they are laid out."""

from typing import Final

import numpy as np

from histo_index.arrays import Float32, Int64
from histo_index.indexer.reader import OpenIndex

_MOST_FITTED: Final = 5_000
_BLOCK_ROWS: Final = 8192


def project(index: OpenIndex, rows: Int64) -> Float32:
    """Project tiles to the plane in which their vectors vary most: float32 [n, 2].

    Args:
        index: holds the vectors.
        rows: int64 [n]; the plane is fitted to at most 5,000 of them.
    """
    from sklearn.decomposition import PCA

    count = min(len(rows), _MOST_FITTED)
    if count < 2:
        return np.zeros((len(rows), 2), np.float32)
    sample = np.sort(np.random.default_rng(0).choice(rows, count, replace=False))
    plane = PCA(n_components=2, svd_solver="randomized", random_state=0)
    with np.errstate(invalid="ignore"):  # equal vectors have no variance to be shared out
        plane.fit(index.vectors(sample).astype(np.float32))
    found = np.empty((len(rows), 2), np.float32)
    for start in range(0, len(rows), _BLOCK_ROWS):
        own = rows[start : start + _BLOCK_ROWS]
        vectors = index.vectors(own).astype(np.float32)
        found[start : start + len(own)] = plane.transform(vectors)
    return found
