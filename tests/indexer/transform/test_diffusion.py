"""Diffusion coordinates: distances are those of two walks, and clusters contract."""

import numpy as np
import numpy.typing as npt

from histo_index.arrays import Float32, Float64
from histo_index.indexer.transform.diffusion import Diffusion, fit_diffusion
from histo_index.indexer.transform.whitening import fit_whitening
from tests.indexer.transform.test_whitening import embeddings

STEPS = 4
SHARED = 0.25
SIZE = 24


def squares(left: npt.NDArray[np.floating], right: npt.NDArray[np.floating]) -> Float64:
    found: Float64 = ((left[:, None].astype(np.float64) - right[None]) ** 2).sum(axis=2)
    return found


def steps_between(points: Float32) -> Float64:
    """Give the odds of one step from each point to each: a plain form of what is fitted."""
    gaps = squares(points, points)
    reaches = np.sqrt(np.sort(gaps, axis=1)[:, min(20, len(points) // 4)])
    weights = np.exp(-3 * gaps / (reaches[:, None] * reaches))
    odds: Float64 = weights / weights.sum(axis=1, keepdims=True)
    return odds


def test_distances_are_how_differently_two_walks_end() -> None:
    # So few tiles that every eigenvector of a step is a coordinate, and 32 directions are all.
    tiles = embeddings(20, size=SIZE)
    found = fit_diffusion(tiles).apply(tiles)
    coordinates = found[:, SIZE:] * (SHARED / found[:, SIZE : SIZE + 1])
    step = steps_between(fit_whitening(tiles).apply(tiles))
    ends = np.linalg.matrix_power(step, STEPS)
    rest = np.linalg.matrix_power(step, 1000)[0]  # where a walk without end is found
    expected = (((ends[:, None] - ends[None]) ** 2) / rest).sum(axis=2)
    assert expected.max() > 0.1
    np.testing.assert_allclose(squares(coordinates, coordinates), expected, atol=1e-4)


def test_three_tenths_of_a_distance_are_of_whitened_vectors_and_seven_of_walks() -> None:
    tiles = embeddings(300)
    found = fit_diffusion(tiles).apply(tiles)
    whitened = fit_whitening(tiles).apply(tiles)
    np.testing.assert_allclose(found[:, :SIZE], whitened * np.sqrt(0.3), atol=1e-6)
    np.testing.assert_allclose((found[:, SIZE:] ** 2).sum(axis=1), 0.7, atol=1e-6)


def test_stored_arrays_restore_the_same_transform() -> None:
    tiles = embeddings(300)
    fit = fit_diffusion(tiles)
    assert np.array_equal(Diffusion.from_arrays(fit.arrays()).apply(tiles), fit.apply(tiles))


def clusters(count: int) -> Float32:
    """Make two overlapping clusters; each tile is off its centre in many directions."""
    tiles = np.random.default_rng(0).normal(size=(2 * count, SIZE)) * 0.25
    tiles[:, 0] += np.repeat([0.5, -0.5], count)
    tiles[:, 1] += 1
    units: Float32 = (tiles / np.linalg.norm(tiles, axis=1, keepdims=True)).astype(np.float32)
    return units


def share_within(vectors: Float32, count: int) -> float:
    """Return how often two tiles of a cluster are nearer than two of different ones."""
    gaps = squares(vectors, vectors)
    within = np.concatenate([gaps[:count, :count].ravel(), gaps[count:, count:].ravel()])
    between = np.sort(gaps[:count, count:].ravel())
    return float((1 - np.searchsorted(between, within) / len(between)).mean())


def test_clusters_contract() -> None:
    tiles = clusters(150)
    whitened = share_within(fit_whitening(tiles).apply(tiles), 150)
    assert whitened < 0.85
    assert share_within(fit_diffusion(tiles).apply(tiles), 150) > 0.95


def test_tiles_outside_the_fit_join_the_clusters() -> None:
    tiles = clusters(300)
    found = fit_diffusion(tiles[::2]).apply(tiles[1::2])
    assert share_within(found, 150) > 0.95


def test_more_tiles_than_landmarks_are_drawn_from() -> None:
    tiles = embeddings(3000)
    assert fit_diffusion(tiles).landmarks.shape == (1024, SIZE - 1)
    assert fit_diffusion(tiles).apply(tiles[:10]).shape == (10, SIZE + 24)
