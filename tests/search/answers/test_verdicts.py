"""Neighbours get verdicts from any threshold, and probabilities from a calibration alone."""

from histo_index.search.answers.neighbours import Neighbour, add_verdicts
from histo_index.search.calibration.threshold import Threshold


def test_a_published_threshold_gives_verdicts_without_probabilities() -> None:
    near = [
        Neighbour(rank=rank, image_id="a", path="a", distance=distance)
        for rank, distance in ((1, 0.3), (2, 0.6))
    ]
    found = add_verdicts(near, Threshold(value=0.5, origin="published"), is_far=False)
    assert [neighbour.verdict for neighbour in found] == ["same", "different"]
    assert [neighbour.probability for neighbour in found] == [None, None]
    assert add_verdicts(near, Threshold(value=None, origin="none"), is_far=False) == near
