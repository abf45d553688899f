"""Whitening and diffusion: each vector depends on its own embedding alone."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from histo_index.indexer.transform.diffusion import Diffusion, fit_diffusion
from histo_index.indexer.transform.whitening import Whitening, fit_whitening
from tests.indexer.transform.test_whitening import embeddings

pytestmark = pytest.mark.parametrize("kind", ["diffused", "whitened"])
FITS: dict[str, Callable[[npt.NDArray[np.floating]], Diffusion | Whitening]] = {
    "diffused": fit_diffusion,
    "whitened": fit_whitening,
}
CLASSES: dict[str, type[Diffusion | Whitening]] = {"diffused": Diffusion, "whitened": Whitening}


def test_vector_is_independent_of_other_rows(kind: str) -> None:
    tiles = embeddings(5000).astype(np.float16)
    transform = FITS[kind](tiles)
    together = transform.apply(tiles)
    assert together.shape == (5000, transform.size)
    for start, stop in ((0, 1), (7, 40), (4095, 4098), (4999, 5000)):
        np.testing.assert_array_equal(transform.apply(tiles[start:stop]), together[start:stop])
    np.testing.assert_array_equal(transform.apply(np.asfortranarray(tiles)), together)


def test_fit_is_deterministic(kind: str) -> None:
    tiles = embeddings(200)
    once, again = (FITS[kind](tiles).arrays() for _ in range(2))
    for name, stored in once.items():
        assert stored.tobytes() == again[name].tobytes()


@pytest.mark.parametrize("count", [1, 2, 100])
def test_equal_embeddings_give_equal_unit_vectors(kind: str, count: int) -> None:
    tiles = np.tile(embeddings(1), (count, 1))
    found = FITS[kind](tiles).apply(tiles)
    np.testing.assert_array_equal(found, np.tile(found[:1], (count, 1)))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


def test_three_distinct_embeddings_give_unit_vectors(kind: str) -> None:
    tiles = np.tile(embeddings(3), (50, 1))
    found = FITS[kind](tiles).apply(tiles)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_embedding_far_from_the_fit_gives_a_unit_vector(kind: str) -> None:
    transform = FITS[kind](embeddings(200))
    found = transform.apply(-embeddings(5))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_stored_arrays_restore_the_transform(kind: str) -> None:
    tiles = embeddings(100)
    transform = FITS[kind](tiles)
    again = CLASSES[kind].from_arrays(transform.arrays())
    np.testing.assert_array_equal(again.apply(tiles), transform.apply(tiles))
