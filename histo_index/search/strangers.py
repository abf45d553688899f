"""Tell which images are unlike everything in an index: its calibration says little of them."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from histo_index.indexer.opened import OpenIndex
from histo_index.search.answers import Located
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
    # Imported here: a look-up has no unseen image, and starts fast.
    from histo_index.search.ranking import nearest_rows

    nearest = nearest_rows(index, vectors, k=1, own_rows=[None] * len(vectors))
    return nearest.distances[:, 0] > calibration.far_distance


def far_among(index: OpenIndex, images: Sequence[Located], threshold: Threshold) -> list[Located]:
    """Choose the images outside the index that are unlike everything in it; see `are_far`."""
    unseen = [image for image in images if image.row is None]
    vectors = np.array([image.vector for image in unseen], np.float16)
    is_far = are_far(index, vectors, threshold)
    return [image for image, answer in zip(unseen, is_far, strict=True) if answer]
