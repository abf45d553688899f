"""From distance to verdict, and on whose authority."""

from typing import Any

import numpy as np
import pytest

from histo_index.errors import InputError
from histo_index.indexer.format.encoder_card import ThresholdRecord
from histo_index.search.bootstrap import Estimate
from histo_index.search.calibration.calibration import Calibration, Histogram
from histo_index.search.calibration.curve import Curve
from histo_index.search.calibration.threshold import Threshold, Verdict


def test_the_threshold_itself_is_still_the_same() -> None:
    distances = np.array([0.49, 0.5, 0.51], np.float32)
    verdicts = Threshold(value=0.5, origin="test").verdicts(distances)
    assert verdicts.to_pylist() == [Verdict.SAME, Verdict.SAME, Verdict.DIFFERENT]


def test_without_a_threshold_every_verdict_is_unsure() -> None:
    verdicts = Threshold.choose(None, None).verdicts(np.zeros(2, np.float32))
    assert verdicts.to_pylist() == [Verdict.UNSURE] * 2


def test_the_user_wins_over_the_encoder() -> None:
    published = ThresholdRecord(value=0.7, origin="leaderboard")
    assert Threshold.choose(0.1, published).value == 0.1
    assert Threshold.choose(None, published).value == 0.7
    assert "leaderboard" in Threshold.choose(None, published).origin


@pytest.mark.parametrize("value", [-0.1, 4.1, float("nan")])
def test_value_outside_0_to_4_is_no_threshold(value: float) -> None:
    with pytest.raises(InputError, match="0 to 4"):
        Threshold(value=value, origin="test")


def calibrated(**changes: Any) -> Calibration:
    """A calibration whose probability falls from 1 at distance 0 to 0 at 2, give or take 0.1."""
    middle = np.linspace(1, 0, 5)
    made: dict[str, Any] = {
        "fingerprint": "f" * 32,
        "distance": "plain",
        "threshold": Estimate(value=1.0, low=0.9, high=1.1),
        "curve": Curve(
            distance=np.linspace(0, 2, 5),
            probability=middle,
            low=np.clip(middle - 0.1, 0, 1),
            high=np.clip(middle + 0.1, 0, 1),
        ),
        "objective": "accuracy",
        "prior": 0.5,
        "accuracy": Estimate(value=0.9, low=0.8, high=0.95),
        "answers_unsure": False,
        "far_distance": 0.5,
        "is_unlabelled": False,
        "source": "p.csv",
        "unit": "tile",
        "pairs": 100,
        "same": 50,
        "tiles": 80,
        "units": 80,
        "unused": 0,
        "warnings": [],
        "histogram": Histogram(edges=[0.0, 2.0], same=[50], different=[50]),
        "contents": None,
        "classes": None,
        "created": "2026-01-01T00:00:00+00:00",
        "libraries": {},
    }
    return Calibration(**{**made, **changes})


DISTANCES = np.array([0.5, 0.85, 1.0, 1.15, 1.5], np.float32)


def test_a_calibration_comes_before_the_encoder_s_threshold_and_after_the_user_s() -> None:
    published = ThresholdRecord(value=0.7, origin="somewhere")
    chosen = Threshold.choose(None, published, calibrated())
    assert (chosen.value, chosen.is_calibrated) == (1.0, True)
    assert chosen.origin == "calibrated for accuracy on 100 pairs of 80 tiles: p.csv"
    little = calibrated(pairs=1_000, tiles=1, unit="group", units=1)
    assert little.origin == "calibrated for accuracy on 1,000 pairs of 1 tile of 1 group: p.csv"
    given = Threshold.choose(0.3, published, calibrated())
    assert (given.value, given.is_calibrated, given.origin) == (0.3, False, "given by the user")


def test_origin_without_labels_is_marked_weaker() -> None:
    chosen = Threshold.choose(None, None, calibrated(is_unlabelled=True))
    assert chosen.origin == "estimated without labels (less reliable) from p.csv"


def test_probabilities_come_with_their_interval() -> None:
    found = Threshold.choose(None, None, calibrated()).likelihoods(DISTANCES)
    assert found is not None
    assert found.probability == pytest.approx([0.75, 0.575, 0.5, 0.425, 0.25])
    assert found.low == pytest.approx([0.65, 0.475, 0.4, 0.325, 0.15])
    assert found.high == pytest.approx([0.85, 0.675, 0.6, 0.525, 0.35])
    assert Threshold.choose(0.3, None).likelihoods(DISTANCES) is None


def test_unsure_are_pairs_whose_interval_holds_the_cut() -> None:
    threshold = Threshold.choose(None, None, calibrated(), unsure=True)
    expected = ["same", "unsure", "unsure", "unsure", "different"]
    assert threshold.verdicts(DISTANCES).to_pylist() == expected
    stored = Threshold.choose(None, None, calibrated(answers_unsure=True))
    assert stored.verdicts(DISTANCES).to_pylist() == expected
    decided = Threshold.choose(None, None, calibrated(answers_unsure=True), unsure=False)
    assert "unsure" not in decided.verdicts(DISTANCES).to_pylist()


def test_the_user_s_threshold_has_its_own_unsure_pairs() -> None:
    threshold = Threshold.choose(0.5, None, calibrated(), unsure=True)
    expected = ["unsure", "different", "different", "different", "different"]
    assert threshold.verdicts(DISTANCES).to_pylist() == expected


def test_no_pair_is_answered_that_is_nearer_the_cut_than_an_unsure_one() -> None:
    """A band that is wide for near pairs alone must not leave only answers of "different"."""
    middle = np.linspace(1, 0, 5)
    wide = Curve(
        distance=np.linspace(0, 2, 5),
        probability=middle,
        low=np.minimum(middle, [0.6, 0.3, 0.2, 0.1, 0]),
        high=np.clip(middle + 0.05, 0, 1),
    )
    threshold = Threshold.choose(None, None, calibrated(curve=wide), unsure=True)
    # The interval holds a half from 0.17 on. 1 - d/4 is 0.96 there and 0.75 at the threshold: what
    # lies as far above it has 0.75² / 0.96, which is at 1.65.
    distances = np.array([0.1, 0.2, 0.5, 1.2, 1.5, 1.6, 1.7], np.float32)
    expected = ["same", *["unsure"] * 4, "unsure", "different"]
    assert threshold.verdicts(distances).to_pylist() == expected


def test_where_not_even_distance_zero_is_surely_the_same_only_the_far_are_answered() -> None:
    middle = np.linspace(1, 0, 5)
    unknown = Curve(distance=np.linspace(0, 2, 5), probability=middle, low=0 * middle, high=middle)
    threshold = Threshold.choose(None, None, calibrated(curve=unknown), unsure=True)
    # As far above the threshold, 1, as it is above 0: 4 (1 - 0.75²) = 1.75.
    distances = np.array([0.0, 0.5, 1.7, 1.8], np.float32)
    assert threshold.verdicts(distances).to_pylist() == [*["unsure"] * 3, "different"]


def test_novel_pairs_are_unsure_only_on_request() -> None:
    far = np.array([True, False, False, False, True])
    threshold = Threshold.choose(None, None, calibrated(), unsure=True)
    assert threshold.verdicts(DISTANCES, far).to_pylist() == ["unsure"] * 5
    decided = Threshold.choose(None, None, calibrated())
    assert decided.verdicts(DISTANCES, far).to_pylist()[0] == "same"


def test_unsure_without_a_calibration_is_refused() -> None:
    with pytest.raises(InputError, match="run `histo-index calibrate` first"):
        Threshold.choose(0.5, None, unsure=True)
