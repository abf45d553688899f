"""Tune an ANN index to a recall and measure it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from histo_index.arrays import Float16, Float32, Int64
from histo_index.indexer.nearest.kernel import candidate_distances, to_float32

_NEIGHBOURS: Final = 10
_QUERIES: Final = 256
_CANDIDATES: Final = (32, 64, 128, 256, 512)
# A tile in the structures that are chosen: 64 dimensions and its number.
_CODE_BYTES: Final = 72


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """How to search a structure, and what was measured doing so; fields as in `AnnStructure`."""

    effort: int
    candidates: int
    recall: float
    queries_per_second: int
    exact_queries_per_second: float


class Tuning:
    """Tune an ANN index: the cheapest search that reaches a recall."""

    def __init__(self, index: Any, matrix: Float16) -> None:
        """Tune an ANN index of vectors float16 [N, D], mapped."""
        from histo_index.indexer.nearest.exact import most_effort

        self._index = index
        self._matrix = matrix
        self._most: int = most_effort(index)

    def run(self, target: float) -> Tuned:
        """Choose on one sample of tiles and measure on another."""
        count = min(_QUERIES, len(self._matrix) // 2)
        rows = np.random.default_rng(1).choice(len(self._matrix), 2 * count, replace=False)
        exact_s, limits = self._timed(lambda: self._limits(rows))
        effort, candidates = self._choose(rows[:count], limits[:count], target)
        queries = rows[count:]
        search_s, distances = self._timed(lambda: self._distances(queries, effort, candidates))
        return Tuned(
            effort=effort,
            candidates=candidates,
            recall=round(float(_recalls(distances, limits[count:]).mean()), 4),
            queries_per_second=round(count / search_s),
            exact_queries_per_second=round(len(rows) / exact_s, 1),
        )

    def _choose(self, queries: Int64, limits: Float32, target: float) -> tuple[int, int]:
        efforts = [1 << power for power in range(self._most.bit_length())]
        best: tuple[float, int, int] | None = None
        for effort in efforts:
            distances = self._distances(queries, effort, _CANDIDATES[-1])
            for candidates in _CANDIDATES:
                if reachable_recall(_recalls(distances[:, :candidates], limits)) >= target:
                    cost = self._cost(effort, candidates)
                    best = min(best or (np.inf, 0, 0), (cost, effort, candidates))
                    break
            if best is not None and self._cost(effort, 0) >= best[0]:
                break
        return best[1:] if best else (self._most, _CANDIDATES[-1])

    def _cost(self, effort: int, candidates: int) -> float:
        """Count the bytes that a query reads."""
        scanned = len(self._matrix) * effort / self._most * _CODE_BYTES
        return scanned + candidates * 2.0 * int(self._matrix.shape[1])

    def _limits(self, queries: Int64) -> Float32:
        """Find how far the tenth nearest tile of each query is: float32 [Q]."""
        from histo_index.indexer.nearest.exact import ExactSearch

        count = min(_NEIGHBOURS + 1, len(self._matrix))
        found = ExactSearch(self._matrix).search(self._floats(queries), count)
        distances = np.sort(self._measure(queries, found), axis=1)
        limits: Float32 = distances[:, min(_NEIGHBOURS, distances.shape[1]) - 1]
        return limits

    def _distances(self, queries: Int64, effort: int, candidates: int) -> Float32:
        """Find candidates and their exact distances: float32 [Q, candidates]."""
        from histo_index.indexer.nearest.exact import ask, search_parameters

        parameters = search_parameters(self._index, effort)
        count = min(candidates, len(self._matrix))
        found = ask(self._index, self._floats(queries), count, parameters)
        return self._measure(queries, found)

    def _measure(self, queries: Int64, found: Int64) -> Float32:
        """Measure exact distances; infinite for the query itself and where nothing was found."""
        rows = np.maximum(found, 0)
        distances = candidate_distances(self._matrix[queries], self._matrix, rows)
        distances[(found < 0) | (found == queries[:, None])] = np.inf
        return distances

    def _floats(self, queries: Int64) -> Float32:
        return to_float32(self._matrix[queries])

    @staticmethod
    def _timed(job: Callable[[], Float32]) -> tuple[float, Float32]:
        started = time.monotonic()
        result = job()
        return max(time.monotonic() - started, 1e-9), result


def _recalls(distances: Float32, limits: Float32) -> Float32:
    """Compute the recall of each query: [Q]; equally distant tiles count alike."""
    is_near = distances <= limits[:, None] * (1 + 1e-5)
    shares: Float32 = np.minimum(np.count_nonzero(is_near, axis=1), _NEIGHBOURS) / _NEIGHBOURS
    return shares


def reachable_recall(recalls: Float32) -> float:
    """Compute the recall that other queries reach too: two standard errors below this sample's."""
    return float(recalls.mean() - 2 * recalls.std() / np.sqrt(len(recalls)))
