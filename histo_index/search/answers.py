"""The answer to one pair of images."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from histo_index.search.distances import pair_distances
from histo_index.search.verdicts import Threshold, Verdict


@dataclass(frozen=True, kw_only=True)
class Located:
    """An image and its vector.

    Attributes:
        name: as the user called it.
        vector: float16 [D], length 1 within rounding.
        image_id: its id in the index, or None if it is not there.
        row: its row in the index, or None.
    """

    name: str
    vector: npt.NDArray[np.float16]
    image_id: str | None = None
    row: int | None = None


@dataclass(frozen=True, kw_only=True)
class PairAnswer:
    """The answer to: are these two of the same tissue category.

    Attributes:
        image_a: the first image, as the user called it.
        image_b: the second.
        verdict: same, different or unsure.
        distance: squared distance, 0…4; smaller is more alike.
        threshold: at or below it the verdict is same; None if there is none.
        threshold_from: who chose it, on what.
        probability: of being the same, 0…1; None unless calibrated.
        is_calibrated: whether threshold and probability were fitted on the user's own pairs.
        image_id_a: id in the index, None if the image was encoded for this question.
        image_id_b: likewise.
    """

    image_a: str
    image_b: str
    verdict: Verdict
    distance: float
    threshold: float | None
    threshold_from: str
    probability: float | None
    is_calibrated: bool
    image_id_a: str | None
    image_id_b: str | None

    def as_dict(self) -> dict[str, Any]:
        """Give plain values, for JSON."""
        return {**self.__dict__, "verdict": self.verdict.value}


def answer_pair(a: Located, b: Located, threshold: Threshold) -> PairAnswer:
    """Compare two images by their vectors."""
    distances = pair_distances(a.vector[None], b.vector[None])
    return PairAnswer(
        image_a=a.name,
        image_b=b.name,
        verdict=Verdict(threshold.judge(distances)[0].as_py()),
        distance=float(distances[0]),
        threshold=threshold.value,
        threshold_from=threshold.origin,
        probability=None,
        is_calibrated=threshold.is_calibrated,
        image_id_a=a.image_id,
        image_id_b=b.image_id,
    )
