"""A map of an index: its tiles on a plane, alike ones near each other as far as a plane allows."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from histo_index.arrays import Int64
from histo_index.indexer.reader import OpenIndex
from histo_index.search.inputs.labelled_pairs import LabelledPairs

# Points of a map: more hide each other, and each is 60 bytes of the page.
MOST_POINTS: Final = 1_500


@dataclass(frozen=True, kw_only=True)
class Map:
    """Tiles on a plane.

    Attributes:
        points: float64 [n, 2].
        labels: int64 [n], class of each, -1 unknown.
        groups: int64 [n], group of each, -1 unknown.
        explained: share of the vectors' variance that the plane keeps, 0…1.
        tiles: how many tiles the index holds, of which these are some.
    """

    points: npt.NDArray[np.float64]
    labels: Int64
    groups: Int64
    explained: float
    tiles: int


def map_index(index: OpenIndex, dataset: LabelledPairs, *, most_points: int = MOST_POINTS) -> Map:
    """Lay tiles of an index on the plane of their two principal components.

    Args:
        index: whose tiles; of many, some drawn by lot, half of them from the dataset.
        dataset: tells classes and groups.
        most_points: largest number of points on the map.
    """
    from sklearn.decomposition import PCA

    rows = _drawn(index.live_rows(), dataset.rows, most_points)
    vectors = index.vectors(rows).astype(np.float32)
    plane = PCA(n_components=2, svd_solver="randomized", random_state=0).fit(vectors)
    place = np.searchsorted(dataset.rows, rows)
    place = np.minimum(place, len(dataset.rows) - 1)
    is_known = dataset.rows[place] == rows
    return Map(
        points=plane.transform(vectors).astype(np.float64),
        labels=np.where(is_known, dataset.labels[place], -1),
        groups=np.where(is_known, dataset.groups[place], -1),
        explained=float(plane.explained_variance_ratio_.sum()),
        tiles=index.manifest.tiles,
    )


def _drawn(live: Int64, known: Int64, most_points: int) -> Int64:
    """Choose rows, int64 rising: of those known at most half, unless the others are fewer."""
    generator = np.random.default_rng(0)
    others = np.setdiff1d(live, known)
    most = max(most_points // 2, most_points - len(others))
    chosen = known if len(known) <= most else generator.choice(known, most, replace=False)
    room = min(most_points - len(chosen), len(others))
    return np.sort(np.concatenate([chosen, generator.choice(others, room, replace=False)]))
