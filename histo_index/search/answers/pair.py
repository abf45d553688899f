"""The answer to one pair of images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from histo_index.search.calibration.threshold import Threshold, Verdict
from histo_index.search.distance import pair_distances
from histo_index.search.inputs.resolve import Located
from histo_index.search.tabular import Tabular


@dataclass(frozen=True, kw_only=True)
class PairAnswer(Tabular):
    """The answer to: are these two of the same tissue category.

    Attributes:
        image_a: the first image, as the user called it.
        image_b: the second.
        verdict: same, different or unsure.
        distance: squared distance, 0…4; smaller is more alike.
        threshold: at or below it the verdict is same; None if there is none.
        threshold_from: who chose it, on what.
        probability: of being the same, 0…1; None unless calibrated.
        probability_low: lower end of its 95 % interval.
        probability_high: upper end.
        prior: share of same pairs, 0…1, that the probability holds for; None without one.
        is_calibrated: whether the threshold was fitted on the user's own pairs.
        unsure_because: why the verdict is unsure; None if it is not.
        image_id_a: id in the index, None if the image was encoded for this question.
        image_id_b: the same for the second image.
        encoder_note: what is doubtful about the encoder of the index; None if nothing.
    """

    image_a: str
    image_b: str
    verdict: Verdict
    distance: float
    threshold: float | None
    threshold_from: str
    probability: float | None
    probability_low: float | None
    probability_high: float | None
    prior: float | None
    is_calibrated: bool
    unsure_because: str | None
    image_id_a: str | None
    image_id_b: str | None
    encoder_note: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**self.__dict__, "verdict": self.verdict.value}

    @property
    def table(self) -> pa.Table:
        """The answer as a table of one row."""
        return pa.Table.from_pylist([self.as_dict()])


def answer_pair(
    a: Located,
    b: Located,
    threshold: Threshold,
    *,
    far: Sequence[Located] = (),
    encoder_note: str | None = None,
) -> PairAnswer:
    """Compare two images by their vectors.

    Args:
        a: the first image.
        b: the second.
        threshold: what the verdict rests on.
        far: those of the two that are unlike everything in the index.
        encoder_note: what is doubtful about the encoder of the index, if anything.
    """
    distances = pair_distances(a.vector[None], b.vector[None])
    verdict = threshold.verdict(distances[0], is_far=bool(far))
    found = threshold.likelihoods(distances)
    return PairAnswer(
        image_a=a.name,
        image_b=b.name,
        verdict=verdict,
        distance=float(distances[0]),
        threshold=threshold.value,
        threshold_from=threshold.origin,
        probability=None if found is None else float(found.probability[0]),
        probability_low=None if found is None else float(found.low[0]),
        probability_high=None if found is None else float(found.high[0]),
        prior=None if found is None else threshold.prior,
        is_calibrated=threshold.is_calibrated,
        unsure_because=_why(threshold, far) if verdict is Verdict.UNSURE else None,
        image_id_a=a.image_id,
        image_id_b=b.image_id,
        encoder_note=encoder_note,
    )


def _why(threshold: Threshold, far: Sequence[Located]) -> str:
    if threshold.value is None:
        return "there is no threshold"
    if far:
        return f"{', '.join(image.name for image in far)}: unlike everything in the index"
    return "too near the threshold for the calibration to tell"
