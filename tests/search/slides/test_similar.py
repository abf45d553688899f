from pathlib import Path

import numpy as np
import pytest

import histo_index
from histo_index.errors import InputError
from histo_index.search.slides.similar import find_similar_slides, tile_distance


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


def test_a_private_column_leaves_slides_out_only_on_request(tmp_path: Path) -> None:
    slides = ["a.svs", "b.svs", "c.svs"]
    vectors = np.eye(3, 4) + 0.1
    columns = {"slide_id": slides, "patient": ["x", "x", "y"]}
    made = histo_index.from_embeddings(
        slides, vectors, tmp_path / "x.hx", columns, encoder="other", private="patient"
    )
    with pytest.raises(InputError, match="private"):
        find_similar_slides(made.opened, "a.svs", k=2, exclude_same=["patient"])
    own = histo_index.open(tmp_path / "x.hx", private=True).opened
    found = find_similar_slides(own, "a.svs", k=2, exclude_same=["patient"])
    assert [entry.slide for entry in found] == ["c.svs"]
