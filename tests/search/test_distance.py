"""The one distance, against its definition and against worked cases."""

import numpy as np
import pytest

from histo_index.errors import ShapeError
from histo_index.search.distance import pair_distances
from tests.vectors import unit_vectors


def test_known_angles_have_known_distances() -> None:
    left = np.array([[1, 0], [1, 0], [1, 0], [1, 0]], np.float32)
    right = np.array([[1, 0], [0, 1], [-1, 0], [0.6, 0.8]], np.float32)
    assert pair_distances(left, right) == pytest.approx([0, 2, 4, 0.8], abs=1e-6)


def test_distance_is_the_byol_formula_in_float64() -> None:
    left, right = unit_vectors(50, 2048, seed=1), unit_vectors(50, 2048, seed=2)
    expected = 2 - 2 * np.einsum("pd,pd->p", left.astype(np.float64), right.astype(np.float64))
    assert pair_distances(left, right) == pytest.approx(expected, abs=1e-5)


def test_near_copies_keep_their_digits() -> None:
    left = unit_vectors(1, 2048)
    gap = np.zeros_like(left)
    gap[0, :2] = 3e-5, 4e-5
    # 2 - 2·dot in float32 has steps of 1e-7, forty times this distance.
    assert pair_distances(left, left + gap)[0] == pytest.approx(2.5e-9, rel=0.01)


def test_no_pairs_return_no_distances() -> None:
    none = np.empty((0, 8), np.float32)
    assert pair_distances(none, none).tolist() == []


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (np.eye(2, dtype=np.float32), np.eye(3, dtype=np.float32)),
        (np.ones(3, np.float32), np.ones(3, np.float32)),
        (np.eye(2, dtype=np.float32), 2 * np.eye(2, dtype=np.float32)),
        (np.eye(2, dtype=np.float32), np.full((2, 2), np.nan, np.float32)),
    ],
)
def test_rows_that_are_not_unit_pairs_are_refused(left: np.ndarray, right: np.ndarray) -> None:
    with pytest.raises(ShapeError):
        pair_distances(left, right)
