"""A transform is fitted by one thread of BLAS, and the limit ends with the fit."""

from typing import Any

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from histo_index.indexer.transform.diffusion import fit_diffusion
from tests.indexer.transform.test_whitening import embeddings


def blas_threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


class Watched(np.ndarray[Any, Any]):
    """Embeddings that record by how many threads they are averaged."""

    seen: set[int]

    def mean(self, *how: Any, **named: Any) -> Any:
        self.seen = blas_threads()
        return np.asarray(self).mean(*how, **named)


def test_one_thread_fits_and_the_others_are_there_again() -> None:
    tiles = embeddings(20, size=8).view(Watched)
    with threadpool_limits(limits=2, user_api="blas"):
        fit_diffusion(tiles)
        assert blas_threads() == {2}
    assert tiles.seen == {1}
