"""Tell which images are unlike everything in an index: its calibration says little of them."""

import numpy as np
import numpy.typing as npt

from histo_index.indexer.opened import OpenIndex
from histo_index.search.distances import pair_distances
from histo_index.search.verdicts import Threshold


def are_far(
    index: OpenIndex, vectors: npt.NDArray[np.float16], threshold: Threshold
) -> npt.NDArray[np.bool_]:
    """Tell which images are further from every tile than hardly any tile is from all others.

    Args:
        index: what is known; its own tiles are never far.
        vectors: float16 [n, D] of images outside it, rows of length 1.
        threshold: its calibration knows what is far; without unsure verdicts, nothing is.

    Returns:
        bool [n].

    Raises:
        IndexFormatError: a file that is needed is damaged.
    """
    calibration = threshold.calibration
    if calibration is None or not threshold.answers_unsure or not len(vectors):
        return np.zeros(len(vectors), bool)
    nearest = index.structure.search(vectors.astype(np.float32), 1)[:, 0]
    far: npt.NDArray[np.bool_] = (
        pair_distances(vectors, index.vectors(nearest)) > calibration.far_distance
    )
    return far
