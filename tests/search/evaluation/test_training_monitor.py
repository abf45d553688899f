"""Figures that a training run is watched by, on vectors worked by hand."""

import numpy as np
import numpy.typing as npt
import pytest

from histo_index.errors import InputError
from histo_index.search.evaluation.training_monitor import PairMetrics, TileMetrics


def unit(degrees: list[float]) -> npt.NDArray[np.float32]:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_pairs_and_neighbours_are_counted_across_groups_alone() -> None:
    # Within group 1 the first two lie together; across groups the first is nearest to the third.
    judge = TileMetrics(["a", "b", "a", "b"], ["1", "1", "2", "2"])
    found = judge(unit([0, 1, 10, 80]))
    # Across: 0-10 same, 0-80 different, 1-10 different, 1-80 same; 9 < 10 < 79 < 80 degrees.
    assert found["pair_auc"] == pytest.approx(2 / 4)
    # 0 to 10 right, 1 to 10 wrong, 10 to 1 wrong, 80 to 1 right.
    assert found["neighbour_accuracy"] == pytest.approx(2 / 4)


def test_classes_that_lie_apart_give_a_threshold_between() -> None:
    judge = TileMetrics(list("aabbaabb"), list("11112222"))
    found = judge(unit([0, 4, 90, 95, 2, 6, 92, 97]))
    assert (found["pair_auc"], found["neighbour_accuracy"]) == (1.0, 1.0)
    # Between 7 and 84 degrees.
    assert 2 - 2 * np.cos(np.radians(7)) <= found["threshold"] < 2 - 2 * np.cos(np.radians(84))


def test_same_pairs_that_lie_no_nearer_give_no_threshold() -> None:
    pairs = np.array([0, 0]), np.array([1, 2])
    found = PairMetrics(*pairs, np.array([False, True]))(unit([0, 10, 50]))
    assert found == {"pair_auc": 0.0}


def test_enough_tiles_are_judged_by_fitted_distances_too() -> None:
    # Two classes on either side of the middle: whitened they lie opposite, at a distance of 4.
    angles = [*np.linspace(0, 4, 50), *np.linspace(60, 64, 50)]
    judge = TileMetrics(["a"] * 50 + ["b"] * 50, ["1", "2"] * 50)
    found = judge(unit(angles))
    assert found["threshold"] < 1
    few = TileMetrics(list("abab"), list("1122"))(unit([0, 1, 10, 80]))
    assert found["diffused_pair_auc"] == 1
    assert 0.5 < found["diffused_threshold"] < 4
    assert "diffused_threshold" not in few


def test_one_sort_of_pair_is_no_monitor() -> None:
    with pytest.raises(InputError, match="are all different"):
        TileMetrics(["a", "b"], ["1", "2"])
    with pytest.raises(InputError, match="are all different"):
        TileMetrics(["a", "a", "b"], ["1", "1", "2"])
