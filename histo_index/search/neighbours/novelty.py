"""Novelty: images unlike everything in an index."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from histo_index.arrays import Bools, Float16
from histo_index.indexer.reader import OpenIndex
from histo_index.search.inputs.resolve import Located

_FAR_QUANTILE: Final = 0.99
_FAR_QUERIES: Final = 1_000
# A sample: its nearest neighbours are a little further than those of millions, so fewer are far.
_FAR_GALLERY: Final = 20_000


def are_far(index: OpenIndex, vectors: Float16, far_distance: float | None) -> Bools:
    """Flag images whose nearest tile is further than the far distance of the calibration.

    Args:
        index: what is known; its own tiles are never far.
        vectors: float16 [n, D] of images outside it, rows of length 1.
        far_distance: the 99th percentile of nearest-neighbour distances across groups; None if
            nothing is to be flagged.

    Returns:
        bool [n].

    Raises:
        IndexFormatError: a file that is needed is damaged.
    """
    if far_distance is None or not len(vectors):
        return np.zeros(len(vectors), bool)
    # Imported here: a look-up has no unseen image, and starts fast.
    from histo_index.search.neighbours.nearest import nearest_rows

    nearest = nearest_rows(index, vectors, k=1, own_rows=[None] * len(vectors))
    return nearest.distances[:, 0] > far_distance


def far_among(
    index: OpenIndex, images: Sequence[Located], far_distance: float | None
) -> list[Located]:
    """Choose the images outside the index that are unlike everything in it; see `are_far`."""
    unseen = [image for image in images if image.row is None]
    vectors = np.array([image.vector for image in unseen], np.float16)
    is_far = are_far(index, vectors, far_distance)
    return [image for image, answer in zip(unseen, is_far, strict=True) if answer]


def far_distance(index: OpenIndex, group: str | None) -> float:
    """Compute the 99th percentile of nearest-neighbour distances across groups."""
    # Imported here: a look-up computes none, and starts fast.
    from histo_index.search.inputs.labels import own_groups
    from histo_index.search.retrieval_metrics import rank_others

    generator = np.random.default_rng(0)
    live = index.live_rows()
    rows = np.sort(generator.choice(live, min(len(live), _FAR_GALLERY), replace=False))
    column = group if group in (*index.rows.column_names, *index.hidden) else None
    groups = np.unique(own_groups(index, rows, column), return_inverse=True)[1]
    queries = generator.choice(len(rows), min(len(rows), _FAR_QUERIES), replace=False)
    nearest = rank_others(index.vectors(rows), groups, np.sort(queries), k=1).distances[:, 0]
    is_there = np.isfinite(nearest)
    # One group alone has nothing to compare with: nothing is far then.
    return float(np.quantile(nearest[is_there], _FAR_QUANTILE)) if is_there.any() else 4.0
