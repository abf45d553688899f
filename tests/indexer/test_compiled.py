"""The compiled loop gives what numpy gives, for every float16 and any way that arrays lie."""

import numpy as np
import pytest

from histo_index.indexer.compiled import row_distances
from histo_index.search.distances import pair_distances
from tests.vectors import unit_vectors

LEFT = unit_vectors(50, 37).astype(np.float16)
RIGHT = unit_vectors(9000, 37, seed=1).astype(np.float16)


def test_distances_are_those_of_the_plain_form() -> None:
    random = np.random.default_rng(2)
    # More pairs than a piece holds, and no multiple of it.
    left, right = random.integers(0, 50, 10_000), random.integers(0, 9000, 10_000)
    found = row_distances(LEFT, RIGHT, left_rows=left, right_rows=right)
    np.testing.assert_allclose(found, pair_distances(LEFT[left], RIGHT[right]), atol=2e-6)
    assert found.dtype == np.float32


# One block of numbers and less, several, and one that is begun; pairs left over from the last four.
@pytest.mark.parametrize("size", [1, 8, 24, 256, 384, 1560])
def test_rows_of_any_size_are_measured_to_their_end(size: int) -> None:
    rows = unit_vectors(7, size).astype(np.float16)
    left, right = np.divmod(np.arange(49), 7)
    for pairs in (1, 4, 6, 49):
        found = row_distances(rows, rows, left_rows=left[:pairs], right_rows=right[:pairs])
        expected = pair_distances(rows[left[:pairs]], rows[right[:pairs]])
        np.testing.assert_allclose(found, expected, atol=2e-6)


def test_every_finite_half_is_read_as_numpy_reads_it() -> None:
    every = np.arange(65536, dtype=np.uint16).view(np.float16)
    halves = every[np.isfinite(every)].reshape(-1, 1)
    rows = np.arange(len(halves))
    found = row_distances(halves, np.zeros((1, 1), np.float16), left_rows=rows, right_rows=0 * rows)
    np.testing.assert_array_equal(found, halves[:, 0].astype(np.float32) ** 2)


def test_mapped_and_strided_arrays_are_read_where_they_lie() -> None:
    fixed = RIGHT.copy()
    fixed.flags.writeable = False
    rows = np.arange(100)
    expected = pair_distances(LEFT[[3] * 50], RIGHT[:100:2])
    found = row_distances(LEFT, fixed, left_rows=np.full(50, 3), right_rows=rows[::2])
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_no_pairs_no_distances() -> None:
    none = np.empty(0, np.int64)
    assert row_distances(LEFT, RIGHT, left_rows=none, right_rows=none).shape == (0,)
