"""Figures about pairs agree with scikit-learn, or with cases worked by hand."""

import numpy as np
import pytest
from sklearn import metrics as theirs

from histo_index.search import pair_metrics
from histo_index.search.pair_metrics import SortedPairs

GENERATOR = np.random.default_rng(0)
# Rounded, so that some distances are equal, also between the kinds.
DISTANCES = np.round(GENERATOR.random(200), 2)
IS_SAME = GENERATOR.random(200) < 1 - DISTANCES
WEIGHTS = GENERATOR.integers(0, 4, 200).astype(np.float64)
CHANCES = np.clip(1 - DISTANCES + 0.1 * GENERATOR.standard_normal(200), 0, 1)
ONES = np.ones(200)


@pytest.mark.parametrize("weights", [ONES, WEIGHTS], ids=["equal weights", "drawn weights"])
def test_pair_figures_are_those_of_scikit_learn(weights: np.ndarray) -> None:
    said = DISTANCES <= 0.4
    expected = [
        theirs.roc_auc_score(IS_SAME, -DISTANCES, sample_weight=weights),
        theirs.accuracy_score(IS_SAME, said, sample_weight=weights),
        theirs.balanced_accuracy_score(IS_SAME, said, sample_weight=weights),
        theirs.brier_score_loss(IS_SAME, CHANCES, sample_weight=weights),
    ]
    found = [
        SortedPairs(DISTANCES, IS_SAME).curve(weights).area,
        pair_metrics.accuracy(said, IS_SAME, weights),
        pair_metrics.balanced_accuracy(said, IS_SAME, weights),
        pair_metrics.brier(CHANCES, IS_SAME, weights),
    ]
    assert found == pytest.approx(expected)


def test_the_curve_is_that_of_scikit_learn() -> None:
    # Without weights of zero, whose thresholds scikit-learn leaves out.
    weights = WEIGHTS + 1
    found = SortedPairs(DISTANCES, IS_SAME).curve(weights)
    false_alarms, hits, cuts = theirs.roc_curve(
        IS_SAME, -DISTANCES, sample_weight=weights, drop_intermediate=False
    )
    assert found.false_alarms == pytest.approx(false_alarms)
    assert found.hits == pytest.approx(hits)
    assert found.thresholds[1:] == pytest.approx(-cuts[1:])


def test_the_equal_error_rate_lies_where_both_errors_meet() -> None:
    # Up to 0.2 half of the same are missed and none else accepted; at 0.3 one in four is.
    figures = SortedPairs([0.1, 0.2, 0.3, 0.4, 0.3, 0.5, 0.6, 0.7], [True] * 4 + [False] * 4)
    assert figures.curve(np.ones(8)).equal_error_rate == pytest.approx(0.25)
    # Between two thresholds both rates change linearly: 1 - 3·t and t meet at a quarter.
    figures = SortedPairs([0.1, 0.1, 0.1, 0.1], [True, True, True, False])
    assert figures.curve(np.ones(4)).equal_error_rate == pytest.approx(0.5)
    assert SortedPairs([0.1, 0.9], [True, False]).curve(np.ones(2)).equal_error_rate == 0.0


def test_one_class_alone_leaves_figures_undefined() -> None:
    figures = SortedPairs([0.1, 0.2], [True, True])
    assert np.isnan(
        [figures.curve(np.ones(2)).area, figures.curve(np.ones(2)).equal_error_rate]
    ).all()
    only = np.array([True, True])
    assert np.isnan(pair_metrics.balanced_accuracy(only, only, np.ones(2)))


def test_the_calibration_error_is_the_mean_gap_of_the_bins() -> None:
    chances = np.array([0.12, 0.18, 0.95, 0.91, 1.0, 0.93])
    is_same = np.array([False, True, True, True, True, False])
    said, found, shares = pair_metrics.calibration_bins(chances, is_same, np.ones(6))
    assert said[[1, 9]] == pytest.approx([0.15, 0.9475])
    assert found[[1, 9]] == pytest.approx([0.5, 0.75])
    assert shares.tolist() == pytest.approx([0, 1 / 3, 0, 0, 0, 0, 0, 0, 0, 2 / 3])
    assert np.isnan(said[[0, 2, 8]]).all()
    # (2 · |0.15 - 0.5| + 4 · |0.9475 - 0.75|) / 6
    assert pair_metrics.calibration_error(chances, is_same, np.ones(6)) == pytest.approx(1.49 / 6)
