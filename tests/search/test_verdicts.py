"""From distance to verdict, and on whose authority."""

import numpy as np
import pytest

from histo_index.errors import InputError
from histo_index.search.verdicts import Threshold, Verdict


def test_the_threshold_itself_is_still_the_same() -> None:
    distances = np.array([0.49, 0.5, 0.51], np.float32)
    verdicts = Threshold(value=0.5, origin="test").judge(distances)
    assert verdicts.to_pylist() == [Verdict.SAME, Verdict.SAME, Verdict.DIFFERENT]


def test_without_a_threshold_every_verdict_is_unsure() -> None:
    verdicts = Threshold.choose(None, None).judge(np.zeros(2, np.float32))
    assert verdicts.to_pylist() == [Verdict.UNSURE] * 2


def test_the_user_wins_over_the_encoder() -> None:
    published = {"value": 0.7, "origin": "leaderboard"}
    assert Threshold.choose(0.1, published).value == 0.1
    assert Threshold.choose(None, published).value == 0.7
    assert "leaderboard" in Threshold.choose(None, published).origin


@pytest.mark.parametrize("value", [-0.1, 4.1, float("nan")])
def test_what_is_no_distance_is_no_threshold(value: float) -> None:
    with pytest.raises(InputError, match="0 to 4"):
        Threshold(value=value, origin="test")
