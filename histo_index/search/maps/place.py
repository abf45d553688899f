"""Place tiles on a map by their neighbours on it, without moving any other tile."""

from typing import Final

import numpy as np

from histo_index.arrays import Float32, Int64
from histo_index.indexer.reader import OpenIndex
from histo_index.progress import report
from histo_index.search.neighbours.nearest import nearest_among

NEIGHBOURS: Final = 5
# Keeps the weight of an equal tile finite: it is then a thousand times that of a close one.
_SOFTENING: Final = 1e-4
_BLOCK: Final = 4096


def weighted_places(distances: Float32, places: Float32) -> Float32:
    """Average the places of neighbours, weighted by the inverse of their squared distances.

    Args:
        distances: float32 [Q, K], squared; infinite where there is no neighbour.
        places: float32 [Q, K, 2].

    Returns:
        float32 [Q, 2].

    Source: Shepard (1968), A two-dimensional interpolation function for irregularly-spaced data.
    """
    weights = 1 / (distances.astype(np.float64) + _SOFTENING)
    total = weights.sum(axis=1, keepdims=True)
    found: Float32 = np.einsum("qk,qkc->qc", weights / total, places).astype(np.float32)
    return found


def place(
    index: OpenIndex, rows: Int64, laid_rows: Int64, points: Float32
) -> tuple[Float32, Float32]:
    """Place tiles by those that are laid out.

    Args:
        index: holds all of them.
        rows: int64 [Q], tiles without a place.
        laid_rows: int64 [L], tiles that are laid out, at least one.
        points: float32 [L, 2], where.

    Returns:
        float32 [Q, 2], the places; float32 [Q], the distance to the nearest tile laid out.
    """
    is_laid = np.zeros(len(index), bool)
    is_laid[laid_rows] = True
    at = np.zeros((len(index), 2), np.float32)
    at[laid_rows] = points
    placed = np.empty((len(rows), 2), np.float32)
    nearest = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), _BLOCK):
        report("placing", start, len(rows))
        own = rows[start : start + _BLOCK]
        found = nearest_among(index, own, is_laid, k=NEIGHBOURS)
        part = slice(start, start + len(own))
        placed[part] = weighted_places(found.distances, at[found.rows])
        nearest[part] = found.distances[:, 0]
    report("placing", len(rows), len(rows))
    return placed, nearest
