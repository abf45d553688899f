"""Search on a GPU: start it when it pays, fall back to the CPU when it fails.

Exact search runs through torch, see `torch_exact`; candidates come from FAISS, if this build of it
supports the structure on a GPU. Results equal those of the CPU, within rounding.
"""

import logging
import threading
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

import faiss

from histo_index.arrays import Float16, Int64
from histo_index.hardware import has_cuda

Searcher = TypeVar("Searcher")

# Multiplications that two cores compute while torch, a GPU and the vectors are loaded.
WORTH: Final = 200_000_000_000
# Queries that they answer from candidates while FAISS opens a GPU.
QUERIES: Final = 10_000
# The most neighbours, and lists to scan, that FAISS's GPU kernels sort.
_MOST_SORTED: Final = 2048

_log = logging.getLogger(__name__)


class LazyGpuSearch(Generic[Searcher]):
    """A search on a GPU that starts after a number of queries.

    Without a GPU, or after an error, the CPU searches from then on.
    """

    def __init__(self, start: Callable[[], Searcher | None], *, after: int) -> None:
        """Prepare to start.

        Args:
            start: opens the searcher on the GPU; returns None if there is no GPU.
            after: queries that the CPU answers first.
        """
        self._start = start
        self._waits_for = after
        self._searcher: Searcher | None = None
        self._is_over = False
        # FAISS's GPU resources serve one thread at a time.
        self._lock = threading.Lock()

    def ask(self, queries: int, question: Callable[[Searcher], Int64]) -> Int64 | None:
        """Search on the GPU.

        Args:
            queries: number of queries.
            question: searches with the searcher that `start` returned.

        Returns:
            The result; None if the CPU must search.
        """
        # While the GPU starts or serves another thread, the CPU searches.
        if not self._lock.acquire(blocking=False):
            return None
        try:
            return self._ask(queries, question)
        finally:
            self._lock.release()

    @property
    def is_started(self) -> bool:
        """Whether the searcher is open on the GPU."""
        return self._searcher is not None

    def _ask(self, queries: int, question: Callable[[Searcher], Int64]) -> Int64 | None:
        self._waits_for -= queries
        if self._is_over or self._waits_for > 0:
            return None
        try:
            self._searcher = self._searcher or self._start()
            if self._searcher is not None:
                return question(self._searcher)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            _log.warning("the GPU cannot search (%s); the CPU goes on", reason)
        self._is_over, self._searcher = True, None
        return None


def exact_on_gpu(matrix: Float16, *, worth: int = WORTH) -> LazyGpuSearch[Any]:
    """Return the exact search of all vectors, float16 [N, D], mapped.

    Args:
        matrix: the vectors.
        worth: multiplications that the CPU computes first.
    """

    def start() -> Any:
        if not has_cuda():
            return None
        # Imported here: torch takes seconds, and is of no use to a search without a GPU.
        from histo_index.indexer.nearest.torch_exact import start_on_gpu

        return start_on_gpu(matrix)

    return LazyGpuSearch(start, after=worth // max(matrix.size, 1))


def candidates_on_gpu(index: Any, *, after: int = QUERIES) -> LazyGpuSearch[Any]:
    """Return the search of a FAISS index on the GPU, after a number of queries."""

    def start() -> Any:
        if not gpu_count():
            return None
        # The index holds on to the resources.
        gpu_index = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)
        _log.info("candidates on the GPU: %s tiles", f"{index.ntotal:,}")
        return gpu_index

    return LazyGpuSearch(start, after=after)


def fits_gpu(*, candidates: int, effort: int) -> bool:
    """Return whether FAISS supports so many candidates and lists on a GPU."""
    return max(candidates, effort) <= _MOST_SORTED


def gpu_count() -> int:
    """Count the GPUs that this build of FAISS can use."""
    # torch first: with a broken driver FAISS ends the process.
    if not hasattr(faiss, "StandardGpuResources") or not has_cuda():
        return 0
    return int(faiss.get_num_gpus())
