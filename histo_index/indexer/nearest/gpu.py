"""Search on a GPU: when it starts, and what becomes of a search where it fails.

Exact search runs through torch, see `torch_search`; candidates come from FAISS, if this build of it
has the structure on a GPU. Answers are those of the CPU, within rounding.
"""

import logging
import threading
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

import faiss

from histo_index.arrays import Float16, Int64
from histo_index.hardware import has_cuda

Searcher = TypeVar("Searcher")

# Multiplications that two cores do in the seconds in which torch, a GPU and the vectors get ready.
_WORTH: Final = 200_000_000_000
# Queries that they answer from candidates while FAISS gets a GPU ready.
_QUERIES: Final = 10_000
# What FAISS's GPU kernels sort at most: neighbours, and lists to look at.
_MOST_SORTED: Final = 2048

_log = logging.getLogger(__name__)


class Later(Generic[Searcher]):
    """A search on a GPU that starts once so much was asked that starting pays.

    Where there is none, or it fails, the CPU answers from then on.
    """

    def __init__(self, start: Callable[[], Searcher | None], *, after: int) -> None:
        """Wait.

        Args:
            start: gets the GPU ready; None if it cannot.
            after: how many queries the CPU answers first.
        """
        self._start = start
        self._waits_for = after
        self._searcher: Searcher | None = None
        self._is_over = False
        # FAISS's GPU resources serve one thread at a time.
        self._lock = threading.Lock()

    def ask(self, queries: int, question: Callable[[Searcher], Int64]) -> Int64 | None:
        """Ask the GPU.

        Args:
            queries: how many the question has.
            question: asks, given what `start` gave.

        Returns:
            The answer; None if the CPU is to give it.
        """
        # While it starts or answers another thread, the CPU is as good.
        if not self._lock.acquire(blocking=False):
            return None
        try:
            return self._ask(queries, question)
        finally:
            self._lock.release()

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


def exact_on_gpu(matrix: Float16) -> Later[Any]:
    """Search all vectors exactly: float16 [N, D], mapped; gives a `Structure`."""

    def start() -> Any:
        if not has_cuda():
            return None
        # Imported here: torch takes seconds, and is of no use to a search without a GPU.
        from histo_index.indexer.nearest.torch_exact import start_on_gpu

        return start_on_gpu(matrix)

    return Later(start, after=_WORTH // max(matrix.size, 1))


def candidates_on_gpu(index: Any) -> Later[Any]:
    """Search a structure of FAISS; gives an index of FAISS."""

    def start() -> Any:
        if not gpu_count():
            return None
        # The index holds on to the resources.
        gpu_index = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)
        _log.info("candidates on the GPU: %s tiles", f"{index.ntotal:,}")
        return gpu_index

    return Later(start, after=_QUERIES)


def fits_gpu(*, candidates: int, effort: int) -> bool:
    """Tell whether FAISS can look so far on a GPU."""
    return max(candidates, effort) <= _MOST_SORTED


def gpu_count() -> int:
    """Count the GPUs that this build of FAISS can use."""
    # torch is asked first: where the driver is broken FAISS ends the process.
    if not hasattr(faiss, "StandardGpuResources") or not has_cuda():
        return 0
    return int(faiss.get_num_gpus())
