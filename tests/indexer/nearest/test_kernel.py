"""Distances and conversions by NumKong equal those of numpy, at every level of the CPU."""

from collections.abc import Iterator

import numkong
import numpy as np
import pytest

from histo_index.indexer.nearest.kernel import (
    candidate_distances,
    row_distances,
    to_float16,
    to_float32,
)
from histo_index.search.distance import pair_distances
from tests.vectors import unit_vectors

LEFT = unit_vectors(50, 37).astype(np.float16)
RIGHT = unit_vectors(9000, 37, seed=1).astype(np.float16)
EVERY = np.arange(65536, dtype=np.uint16).view(np.float16)
FINITE = EVERY[np.isfinite(EVERY)].reshape(-1, 1)
# What NumKong uses here, from the newest instructions to those of every CPU.
LEVELS = [name for name, is_there in numkong.get_capabilities().items() if is_there]


@pytest.fixture(params=range(len(LEVELS)), ids=[f"up-to-{name}" for name in LEVELS])
def _level(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compute as an older CPU would, without the levels above one."""
    newer = LEVELS[request.param + 1 :]
    for name in newer:
        numkong.disable_capability(name)
    yield
    for name in newer:
        numkong.enable_capability(name)


def test_row_distances_equal_pair_distances() -> None:
    random = np.random.default_rng(2)
    # More pairs than a piece holds, and no multiple of it.
    left, right = random.integers(0, 50, 40_000), random.integers(0, 9000, 40_000)
    found = row_distances(LEFT, RIGHT, left_rows=left, right_rows=right)
    np.testing.assert_allclose(found, pair_distances(LEFT[left], RIGHT[right]), atol=2e-6)
    assert found.dtype == np.float32


@pytest.mark.parametrize("size", [1, 8, 24, 256, 384, 1560])
def test_rows_of_any_size_are_compared_to_their_end(size: int) -> None:
    rows = unit_vectors(7, size).astype(np.float16)
    left, right = np.divmod(np.arange(49), 7)
    for pairs in (1, 4, 6, 49):
        found = row_distances(rows, rows, left_rows=left[:pairs], right_rows=right[:pairs])
        expected = pair_distances(rows[left[:pairs]], rows[right[:pairs]])
        np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize("size", [384, 1536, 2048])
@pytest.mark.usefixtures("_level")
def test_distances_equal_float64_on_every_cpu(size: int) -> None:
    # Two clusters and near-copies: distances from 0 to 2.
    rows = unit_vectors(12, size)
    rows[6:] = rows[:6] + 0.3 * rows[6:]
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)
    rows[11] = np.nextafter(rows[10], np.float16(2))
    left, right = np.divmod(np.arange(144), 12)
    expected = np.square(rows[left].astype(np.float64) - rows[right].astype(np.float64)).sum(axis=1)
    found = row_distances(rows, rows, left_rows=left, right_rows=right)
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=0)
    table = candidate_distances(rows, rows, np.tile(np.arange(12), (12, 1)))
    np.testing.assert_allclose(table.ravel(), expected, rtol=2e-6, atol=0)


@pytest.mark.usefixtures("_level")
def test_every_finite_half_is_read_as_numpy_reads_it() -> None:
    rows, zero = np.arange(len(FINITE)), np.zeros((1, 1), np.float16)
    expected = FINITE.astype(np.float32)
    found = row_distances(FINITE, zero, left_rows=rows, right_rows=0 * rows)
    np.testing.assert_array_equal(found, expected[:, 0] ** 2)
    np.testing.assert_array_equal(to_float32(FINITE), expected)


@pytest.mark.usefixtures("_level")
def test_half_floats_are_rounded_as_numpy_does() -> None:
    halves = np.arange(0x3C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    ties = (halves[:-1] + halves[1:]) / 2
    beside = [np.nextafter(ties, np.float32(side)) for side in (0, 2)]
    rows = np.stack([ties, -ties, *beside, halves[:-1]])
    found, expected = to_float16(rows), rows.astype(np.float16)
    np.testing.assert_array_equal(found.view(np.uint16), expected.view(np.uint16))


def test_candidate_distances_equal_pair_distances() -> None:
    # Rows of 8 KB: several copies for one query; then more pairs than a piece holds.
    wide = unit_vectors(40, 4096).astype(np.float16)
    for queries, matrix, count in ((wide[:3], wide, 35), (LEFT, RIGHT, 700)):
        rows = np.random.default_rng(3).integers(0, len(matrix), (len(queries), count))
        numbers = np.repeat(np.arange(len(queries)), count)
        expected = pair_distances(queries[numbers], matrix[rows.ravel()])
        found = candidate_distances(queries, matrix, rows)
        np.testing.assert_allclose(found.ravel(), expected, atol=2e-6)
        paired = row_distances(queries, matrix, left_rows=numbers, right_rows=rows.ravel())
        np.testing.assert_array_equal(found.ravel(), paired)


def test_mapped_and_strided_arrays_are_read_where_they_lie() -> None:
    fixed = RIGHT.copy()
    fixed.flags.writeable = False
    rows = np.arange(100)
    expected = pair_distances(LEFT[[3] * 50], RIGHT[:100:2])
    found = row_distances(LEFT, fixed, left_rows=np.full(50, 3), right_rows=rows[::2])
    np.testing.assert_allclose(found, expected, atol=2e-6)
    np.testing.assert_array_equal(to_float32(fixed[::2]), RIGHT[::2].astype(np.float32))


def test_no_rows_return_no_distances() -> None:
    none = np.empty(0, np.int64)
    assert row_distances(LEFT, RIGHT, left_rows=none, right_rows=none).shape == (0,)
    for shape in ((0, 5), (2, 0)):
        empty = np.empty(shape, np.int64)
        assert candidate_distances(LEFT[: shape[0]], RIGHT, empty).shape == shape
    assert to_float32(LEFT[:0]).shape == (0, 37)
    assert to_float16(np.zeros((0, 37), np.float32)).shape == (0, 37)
