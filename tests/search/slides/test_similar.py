import numpy as np
import pytest

from histo_index.search.slides.similar import tile_distance


def unit(values: np.ndarray) -> np.ndarray:
    found: np.ndarray = values / np.linalg.norm(values, axis=1, keepdims=True)
    return found.astype(np.float32)


def test_the_distance_of_slides_is_the_symmetric_mean_of_nearest_tiles() -> None:
    generator = np.random.default_rng(0)
    left, right = unit(generator.normal(size=(7, 5))), unit(generator.normal(size=(4, 5)))
    there = [min(((a - b) ** 2).sum() for b in right) for a in left]
    back = [min(((a - b) ** 2).sum() for a in left) for b in right]
    expected = (np.mean(there) + np.mean(back)) / 2
    assert tile_distance(left, right) == pytest.approx(expected, abs=1e-5)
    assert tile_distance(right, left) == pytest.approx(expected, abs=1e-5)
    assert tile_distance(left, left) == pytest.approx(0, abs=1e-6)
