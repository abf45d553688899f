"""Metrics that monitor a training run, on vectors worked by hand."""

import numpy as np
import numpy.typing as npt
import pytest

from histo_index.errors import InputError
from histo_index.search.evaluation.training_monitor import (
    MonitorMetrics,
    MonitorThresholds,
    PairMetrics,
    TileMetrics,
)


def unit(degrees: list[float]) -> npt.NDArray[np.float32]:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_pairs_and_neighbours_count_across_groups_only() -> None:
    # Within group 1 the first two lie together; across groups the first is nearest to the third.
    measure = TileMetrics(["a", "b", "a", "b"], ["1", "1", "2", "2"])
    metrics, _ = measure(unit([0, 1, 10, 80]))
    # Across: 0-10 same, 0-80 different, 1-10 different, 1-80 same; 9 < 10 < 79 < 80 degrees.
    assert metrics.pair_auc == pytest.approx(2 / 4)
    # 0 to 10 right, 1 to 10 wrong, 10 to 1 wrong, 80 to 1 right.
    assert metrics.neighbour_accuracy == pytest.approx(2 / 4)


def test_separated_classes_have_a_threshold_between_them() -> None:
    measure = TileMetrics(list("aabbaabb"), list("11112222"))
    metrics, thresholds = measure(unit([0, 4, 90, 95, 2, 6, 92, 97]))
    assert metrics == MonitorMetrics(pair_auc=1.0, neighbour_accuracy=1.0)
    assert metrics.figures() == {"pair_auc": 1.0, "neighbour_accuracy": 1.0}
    assert thresholds.threshold is not None
    # Between 7 and 84 degrees.
    assert 2 - 2 * np.cos(np.radians(7)) <= thresholds.threshold < 2 - 2 * np.cos(np.radians(84))


def test_no_threshold_if_same_pairs_are_no_nearer() -> None:
    pairs = np.array([0, 0]), np.array([1, 2])
    found = PairMetrics(*pairs, np.array([False, True]))(unit([0, 10, 50]))
    assert found == (MonitorMetrics(pair_auc=0.0), MonitorThresholds())


def test_enough_tiles_are_measured_with_fitted_distances_too() -> None:
    # Two classes on either side of the middle: diffused they lie far apart.
    angles = [*np.linspace(0, 4, 50), *np.linspace(60, 64, 50)]
    measure = TileMetrics(["a"] * 50 + ["b"] * 50, ["1", "2"] * 50)
    metrics, found = measure(unit(angles))
    assert metrics.diffused_pair_auc == 1
    assert found.threshold is not None
    assert found.threshold < 1
    assert found.diffused_threshold is not None
    assert 0.5 < found.diffused_threshold < 4
    few, thresholds = TileMetrics(list("abab"), list("1122"))(unit([0, 1, 10, 80]))
    assert (few.diffused_pair_auc, thresholds.diffused_threshold) == (None, None)


def test_pairs_of_one_kind_are_refused() -> None:
    with pytest.raises(InputError, match="are all different"):
        TileMetrics(["a", "b"], ["1", "2"])
    with pytest.raises(InputError, match="are all different"):
        TileMetrics(["a", "a", "b"], ["1", "1", "2"])
