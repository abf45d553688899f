"""Place tiles on a plane: their columns `map_x` and `map_y`, else two principal components."""

from typing import Final

import numpy as np

from histo_index.arrays import Floats
from histo_index.indexer.reader import OpenIndex

MAP_COLUMNS: Final = ("map_x", "map_y")
_MOST_FITTED: Final = 5_000
_BLOCK_ROWS: Final = 8192


def map_points(index: OpenIndex) -> Floats:
    """Place each tile on a plane: floats [N, 2]."""
    rows = index.live_rows()
    if set(MAP_COLUMNS) <= set(index.rows.column_names):
        columns = [index.rows[name].to_numpy()[rows] for name in MAP_COLUMNS]
        stored: Floats = np.stack(columns, axis=1).astype(np.float32)
        return stored
    from sklearn.decomposition import PCA

    count = min(len(rows), _MOST_FITTED)
    sample = np.sort(np.random.default_rng(0).choice(rows, count, replace=False))
    if count < 2:
        return np.zeros((len(rows), 2), np.float32)
    plane = PCA(n_components=2, svd_solver="randomized", random_state=0)
    plane.fit(index.vectors(sample).astype(np.float32))
    found = np.empty((len(rows), 2), np.float32)
    for start in range(0, len(rows), _BLOCK_ROWS):
        own = rows[start : start + _BLOCK_ROWS]
        vectors = index.vectors(own).astype(np.float32)
        found[start : start + len(own)] = plane.transform(vectors)
    return found
