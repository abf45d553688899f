"""Whatever is fitted to an index turns each tile by itself, and odd ones break nothing."""

import numpy as np
import pytest

from histo_index.indexer.transform.diffusion import Diffusion
from histo_index.indexer.transform.transform import FITS
from histo_index.indexer.transform.whitening import Whitening
from tests.indexer.transform.test_whitening import embeddings

pytestmark = pytest.mark.parametrize("kind", ["diffused", "whitened"])
CLASSES: dict[str, type[Diffusion | Whitening]] = {"diffused": Diffusion, "whitened": Whitening}


def test_a_row_does_not_depend_on_those_beside_it(kind: str) -> None:
    tiles = embeddings(5000).astype(np.float16)
    transform = FITS[kind](tiles)
    together = transform.apply(tiles)
    assert together.shape == (5000, transform.size)
    for start, stop in ((0, 1), (7, 40), (4095, 4098), (4999, 5000)):
        np.testing.assert_array_equal(transform.apply(tiles[start:stop]), together[start:stop])
    np.testing.assert_array_equal(transform.apply(np.asfortranarray(tiles)), together)


def test_fitting_again_gives_the_same_bytes(kind: str) -> None:
    tiles = embeddings(200)
    once, again = (FITS[kind](tiles).arrays() for _ in range(2))
    for name, stored in once.items():
        assert stored.tobytes() == again[name].tobytes()


@pytest.mark.parametrize("count", [1, 2, 100])
def test_equal_tiles_stay_equal_and_of_length_one(kind: str, count: int) -> None:
    tiles = np.tile(embeddings(1), (count, 1))
    found = FITS[kind](tiles).apply(tiles)
    np.testing.assert_array_equal(found, np.tile(found[:1], (count, 1)))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


def test_few_distinct_tiles_leave_no_direction_undefined(kind: str) -> None:
    tiles = np.tile(embeddings(3), (50, 1))
    found = FITS[kind](tiles).apply(tiles)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_a_tile_unlike_all_others_is_of_length_one(kind: str) -> None:
    transform = FITS[kind](embeddings(200))
    found = transform.apply(-embeddings(5))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_what_is_stored_is_what_was_fitted(kind: str) -> None:
    tiles = embeddings(100)
    transform = FITS[kind](tiles)
    again = CLASSES[kind].from_arrays(transform.arrays())
    np.testing.assert_array_equal(again.apply(tiles), transform.apply(tiles))
