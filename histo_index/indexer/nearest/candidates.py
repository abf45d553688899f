"""Search by an ANN index, then order its candidates by exact distance.

Beside exact search there may be a structure of any FAISS factory string, some dozens of bytes a
tile, which proposes candidates; their order is always that of the exact distances.
"""

import math
from functools import cache, partial
from typing import Any, Final

import numpy as np

from histo_index.arrays import Bools, Float32, Int64
from histo_index.indexer.nearest.exact import (
    Structure,
    ask,
    linear_steps,
    most_effort,
    parts_of,
    search_parameters,
)
from histo_index.indexer.nearest.gpu import LazyGpuSearch, candidates_on_gpu, fits_gpu

# Codes scanned in the time of one exact comparison at 2048 dimensions.
_ROW_COST: Final = 50
# What a structure is tuned for: ten neighbours, the query itself and a few near-copies.
_TUNED: Final = 19
# Candidates for each neighbour that is wanted beyond those.
_SPREAD: Final = 4


class CandidateSearch:
    """Search by an ANN index; where it finds too few, compare with every vector.

    Attributes:
        effort: how many lists or nodes are looked at for a query; what it means depends on the
            structure.
        candidates: how many are asked for.
    """

    def __init__(
        self,
        index: Any,
        exact: Structure,
        *,
        effort: int,
        candidates: int,
        row_cost: int = _ROW_COST,
        gpu: LazyGpuSearch[Any] | None = None,
    ) -> None:
        self._index = index
        self._exact = exact
        self.effort = effort
        self.candidates = candidates
        self._most = most_effort(index)
        self._row_cost = row_cost
        self._gpu = gpu or candidates_on_gpu(index)
        self._inner, self._steps = parts_of(index)[1], linear_steps(index)
        # Cached: to create them costs as much as scanning a thousand codes.
        self._unfiltered = cache(partial(search_parameters, index))
        self._unfiltered_inner = cache(partial(search_parameters, self._inner))

    def search(self, queries: Float32, count: int, allowed: Bools | None = None) -> Int64:
        """Return candidates in no particular order; see `Structure`."""
        total = self._index.ntotal
        passing = total if allowed is None else int(np.count_nonzero(allowed))
        if passing < total and self._brute_force_is_cheaper(passing / total):
            return self._exact.search(queries, count, allowed)
        wanted = min(total, self.candidates + _SPREAD * max(count - _TUNED, 0))
        # Neighbours that a filter has thinned out, or many of them, lie further apart.
        spread = math.sqrt(wanted / self.candidates) * total / passing
        effort = min(math.ceil(self.effort * spread), self._most)
        found = self._ask(queries, wanted, effort, allowed)
        is_short = found[:, min(count, passing) - 1] < 0
        if is_short.any():
            found[is_short] = -1
            found[is_short, :count] = self._exact.search(queries[is_short], count, allowed)
        return found

    def _brute_force_is_cheaper(self, share: float) -> bool:
        """Return whether comparing all allowed rows costs no more than searching candidates.

        The fewer may, the further one has to look: at `effort / most / share` of all codes.
        """
        return share**2 * self._row_cost <= self.effort / self._most

    def _ask(self, queries: Float32, count: int, effort: int, allowed: Bools | None) -> Int64:
        if allowed is not None:
            return ask(self._index, queries, count, search_parameters(self._index, effort, allowed))
        if fits_gpu(candidates=count, effort=effort):
            found = self._gpu.ask(
                len(queries),
                lambda gpu: gpu.search(queries, count, params=self._unfiltered(effort))[1],
            )
            if found is not None:
                return found
        if len(queries) == 1 and self._steps:
            query = self._project(queries[0])[np.newaxis]
            return ask(self._inner, query, count, self._unfiltered_inner(effort))
        return ask(self._index, queries, count, self._unfiltered(effort))

    def _project(self, query: Float32) -> Float32:
        """Transform a query, float32 [D], as FAISS does, in a fifth of its time.

        By dot products: a product of matrices would start the threads of BLAS for 10 µs of work.
        """
        for matrix, offset in self._steps:
            query = np.vecdot(matrix, query) + offset
        return query
