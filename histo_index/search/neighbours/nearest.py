"""k-NN search: candidates of the ANN index, ordered by exact distance."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from histo_index.arrays import Bools, Float16, Float32, Int64
from histo_index.errors import InputError
from histo_index.indexer.nearest.kernel import candidate_distances, to_float32
from histo_index.indexer.reader import OpenIndex
from histo_index.progress import report
from histo_index.search.neighbours.exclusion import group_queries
from histo_index.search.neighbours.filters import Filters

NOBODY: Final = -1
# FAISS orders near-copies by rounding noise; a few candidates more let the exact distance decide.
_SPARE: Final = 8
# Growth of the candidates where too few of them may come back.
_GROWTH: Final = 4
# Queries at a time: with 512 candidates each 6 MB of rows and distances.
_BLOCK: Final = 1024


@dataclass(frozen=True, kw_only=True)
class Found:
    """The nearest tiles of some queries, nearest first.

    Attributes:
        rows: int64 [Q, K]; NOBODY where fewer may come back.
        distances: float32 [Q, K], squared distances; infinite there.
    """

    rows: Int64
    distances: Float32


def nearest_rows(
    index: OpenIndex,
    queries: Float16,
    *,
    k: int,
    own_rows: Sequence[int | None],
    exclude_self: bool = True,
    filters: Filters | None = None,
    block: int = _BLOCK,
) -> Found:
    """Find the nearest tiles of each query.

    Args:
        index: where to search.
        queries: float16 [Q, D], rows of length 1.
        k: how many; fewer come back only if fewer may.
        own_rows: [Q], the row that the query itself is, or None.
        exclude_self: leave that row out.
        filters: which tiles may come back; default: all.
        block: queries searched at a time.

    Raises:
        InputError: k is not positive, or the filters do not fit the index.
        IndexFormatError: a file that is needed is damaged.
    """
    if k < 1:
        raise InputError(f"k is {k}; expected at least 1")
    filters, width = filters or Filters(), min(k, len(index))
    own = [NOBODY if row is None or not exclude_self else row for row in own_rows]
    found = _nothing(len(own), width)
    done = 0
    for group in group_queries(index.rows, filters, own_rows):
        search = _Search(index=index, k=k, allowed=index.allowed(group.allowed))
        for start in range(0, len(group.queries), block):
            report("searching", done, len(own), unit="images")
            positions = group.queries[start : start + block]
            search.run(queries[positions], np.array(own, np.int64)[positions], found, positions)
            done += len(positions)
    return found


def nearest_among(index: OpenIndex, rows: Int64, allowed: Bools, *, k: int) -> Found:
    """Find the nearest tiles of indexed tiles among some; none is its own neighbour.

    Args:
        index: where to search.
        rows: int64 [Q], the tiles.
        allowed: bool [N], which may come back.
        k: how many; fewer only if fewer may.

    Raises:
        IndexFormatError: a file that is needed is damaged.
    """
    queries, width = index.vectors(rows), min(k, int(np.count_nonzero(allowed)))
    found = _nothing(len(rows), width)
    search = _Search(index=index, k=k, allowed=index.allowed(allowed))
    for start in range(0, len(rows), _BLOCK):
        positions = np.arange(start, min(start + _BLOCK, len(rows)))
        search.run(queries[positions], rows[positions], found, positions)
    return found


def _nothing(queries: int, width: int) -> Found:
    return Found(
        rows=np.full((queries, width), NOBODY, np.int64),
        distances=np.full((queries, width), np.inf, np.float32),
    )


@dataclass(frozen=True, kw_only=True)
class _Search:
    """A search for k tiles.

    Attributes:
        index: where.
        k: how many.
        allowed: bool [N], what may come back; None is all.
    """

    index: OpenIndex
    k: int
    allowed: Bools | None

    def run(self, queries: Float16, own: Int64, found: Found, positions: Int64) -> None:
        """Search queries and store their results at the given positions."""
        total = len(self.index) if self.allowed is None else int(np.count_nonzero(self.allowed))
        count, pending = min(self.k + 1 + _SPARE, total), np.arange(len(queries))
        while len(pending) and count:
            rows, distances = self._rank(queries[pending], own[pending], count)
            is_done = (distances[:, -1] < np.inf) | (count == total)
            done = positions[pending[is_done]]
            found.rows[done, : rows.shape[1]] = rows[is_done]
            found.distances[done, : rows.shape[1]] = distances[is_done]
            count, pending = min(_GROWTH * count, total), pending[~is_done]

    def _rank(self, queries: Float16, own: Int64, count: int) -> tuple[Int64, Float32]:
        """Order candidates by their exact distance, ties by row; see `Found`."""
        candidates = self.index.structure.search(to_float32(queries), count, self.allowed)
        distances = self._compute_distances(queries, candidates)
        distances[(candidates < 0) | (candidates == own[:, None])] = np.inf
        order, each = np.lexsort((candidates, distances)), np.arange(len(queries))[:, None]
        rows, distances = candidates[each, order], distances[each, order]
        rows[distances == np.inf] = NOBODY
        return rows[:, : self.k], distances[:, : self.k]

    def _compute_distances(self, queries: Float16, candidates: Int64) -> Float32:
        """Compute exact distances: float32 [Q, C]; undefined where there is no candidate."""
        rows = np.maximum(candidates, 0)
        self.index.verify(rows.ravel())
        return candidate_distances(queries, self.index.matrix, rows)
