"""A map of an index: tiles on the plane of their two principal components."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from histo_index.arrays import Float32, Float64, Int64
from histo_index.indexer.reader import OpenIndex
from histo_index.indexer.transform.whitening import principal_directions
from histo_index.search.inputs.labelled_pairs import LabelledPairs

# More points overlap, and each takes 60 bytes of the page.
MAX_POINTS: Final = 1_500


@dataclass(frozen=True, kw_only=True)
class Map:
    """Tiles on a plane.

    Attributes:
        points: float64 [n, 2].
        labels: int64 [n], class of each, -1 unknown.
        groups: int64 [n], group of each, -1 unknown.
        explained: share of the vectors' variance that the plane keeps, 0…1.
        tiles: number of tiles of the index; the points are a sample.
    """

    points: Float64
    labels: Int64
    groups: Int64
    explained: float
    tiles: int


def map_index(index: OpenIndex, dataset: LabelledPairs, *, max_points: int = MAX_POINTS) -> Map:
    """Project tiles of an index on the plane of their two principal components.

    Args:
        index: the index; a large one is sampled, half of the points from the dataset.
        dataset: classes and groups of tiles.
        max_points: largest number of points on the map.
    """
    rows = _drawn(index.live_rows(), dataset.rows, max_points)
    points, explained = _project(index.vectors(rows).astype(np.float32))
    at = np.searchsorted(dataset.rows, rows)
    at = np.minimum(at, len(dataset.rows) - 1)
    is_known = dataset.rows[at] == rows
    return Map(
        points=points,
        labels=np.where(is_known, dataset.labels[at], -1),
        groups=np.where(is_known, dataset.groups[at], -1),
        explained=explained,
        tiles=index.manifest.tiles,
    )


def _project(vectors: Float32) -> tuple[Float64, float]:
    """Project vectors, float32 [n, D], on a plane: float64 [n, 2], and its share of variance."""
    centred = vectors - vectors.mean(axis=0)
    variances, directions = principal_directions(centred, 2)
    order = np.argsort(-variances)
    points = np.zeros((len(vectors), 2))
    points[:, : len(order)] = centred @ directions[order].T
    total = float((centred**2).sum()) / len(centred)
    return points, float(variances.sum()) / total if total > 0 else 1.0


def _drawn(live: Int64, known: Int64, max_points: int) -> Int64:
    """Draw rows, int64 sorted: at most half of them known, unless there are fewer others."""
    generator = np.random.default_rng(0)
    others = np.setdiff1d(live, known)
    most = max(max_points // 2, max_points - len(others))
    chosen = known if len(known) <= most else generator.choice(known, most, replace=False)
    room = min(max_points - len(chosen), len(others))
    return np.sort(np.concatenate([chosen, generator.choice(others, room, replace=False)]))
