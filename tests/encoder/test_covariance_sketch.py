"""Sketches of covariances: the same for ever, and angles between covariances are kept."""

import hashlib

import numpy as np
import pytest

from histo_index.encoder.covariance_sketch import SKETCH_SIZE, draw_sketch


@pytest.mark.parametrize(
    ("channels", "digest"),
    [
        (64, "3a3e2ef31eda4cc1af7b5d4f43a4b5ec"),
        (256, "0e36724570eb6d4b2d3cb9945abfd649"),
        (1024, "a52edd4e00f4fbb42151732e28b6e13d"),
    ],
)
def test_a_sketch_is_the_same_for_ever(channels: int, digest: str) -> None:
    sketch = draw_sketch(channels)
    content = b"".join(part.tobytes() for part in (sketch.sums, sketch.order, sketch.signs))
    assert hashlib.sha256(content).hexdigest()[:32] == digest


@pytest.mark.parametrize("channels", [64, 256, 1024])
def test_each_channel_and_each_covariance_enters_one_sum_with_a_sign(channels: int) -> None:
    sketch = draw_sketch(channels)
    assert np.array_equal(np.abs(sketch.sums).sum(axis=1), np.ones(channels))
    assert np.array_equal(np.abs(sketch.sums).sum(axis=0), np.full(64, channels // 64))
    assert sketch.order.shape == sketch.signs.shape == (SKETCH_SIZE, 8)
    assert np.array_equal(np.sort(sketch.order.ravel()), np.arange(64 * 64))
    assert set(np.unique(sketch.signs)) == {-1, 1}


def test_angles_between_covariances_are_kept() -> None:
    random, sketch = np.random.default_rng(0), draw_sketch(256)
    # Channels that vary together in four ways, more or less so.
    ways = random.normal(size=(4, 256, 20))
    full, short = [], []
    for shares in random.dirichlet(np.ones(4), 40):
        covariance = sum(share * way @ way.T for share, way in zip(shares, ways, strict=True))
        summed = (sketch.sums.T @ covariance @ sketch.sums).ravel()
        full.append(covariance.ravel() / np.linalg.norm(covariance))
        part = (summed[sketch.order] * sketch.signs).sum(axis=1)
        short.append(part / np.linalg.norm(part))
    angles, kept = (np.array(rows) @ np.array(rows).T for rows in (full, short))
    assert angles.min() < 0.4
    assert np.corrcoef(kept.ravel(), angles.ravel())[0, 1] > 0.97
