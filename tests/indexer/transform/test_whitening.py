"""Whitening: what it does to hand-made embeddings."""

import numpy as np

from histo_index.arrays import Float32
from histo_index.indexer.transform.whitening import fit_whitening


def embeddings(count: int, size: int = 24, *, seed: int = 0) -> Float32:
    """Directions that lie off the middle and vary less and less along the axes."""
    drawn = np.random.default_rng(seed).normal(size=(count, size)) * np.exp(-np.arange(size) / 4)
    drawn += 0.5
    units: Float32 = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
    return units


def test_two_points_are_whitened_as_by_hand() -> None:
    # Half of the tiles at each point: the middle is between them, one direction varies by
    # (√2 / 2)² = 0.5, which is all there is, so the ridge is 0.5 too and √(0.5 / 1) remains.
    tiles = np.array([[1, 0, 0], [0, 1, 0]] * 60, np.float32)
    found = fit_whitening(tiles)
    np.testing.assert_allclose(found.mean, [0.5, 0.5, 0], atol=1e-6)
    taken = 1 - np.sqrt(1 / 2)
    np.testing.assert_allclose((found.damping**2).sum(), taken, atol=1e-6)
    # Of (0, 0, 1) the middle leaves (-½, -½, 1), at a right angle to that direction.
    new = found.apply(np.array([[0, 0, 1]], np.float32))
    np.testing.assert_allclose(new[0], np.array([-0.5, -0.5, 1]) / np.sqrt(1.5), atol=1e-6)
    # Of (0.6, -0.8, 0): (0.1, -1.3, 0) = 0.7·(1, -1) - 0.6·(1, 1), the former shortened.
    old = found.apply(np.array([[0.6, -0.8, 0]], np.float32))
    by_hand = 0.7 * np.sqrt(1 / 2) * np.array([1, -1, 0]) - 0.6 * np.array([1, 1, 0])
    np.testing.assert_allclose(old[0], by_hand / np.linalg.norm(by_hand), atol=1e-6)


def test_every_direction_is_divided_by_the_root_of_its_variance_and_the_ridge() -> None:
    tiles = embeddings(300)
    mean = tiles.mean(axis=0, dtype=np.float64)
    covariance = np.cov((tiles - mean).T, bias=True)
    variances, directions = np.linalg.eigh(covariance)
    ridge = variances.sum()
    variances[:-16] = 0  # beyond the sixteenth nothing is taken
    whole = directions * np.sqrt(ridge / (variances + ridge)) @ directions.T
    expected = (tiles - mean) @ whole
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(fit_whitening(tiles).apply(tiles), expected, atol=2e-5)


def test_equal_tiles_stay_as_they_are() -> None:
    tiles = np.tile(embeddings(1), (100, 1))
    np.testing.assert_allclose(fit_whitening(tiles).apply(tiles), tiles, atol=1e-6)
