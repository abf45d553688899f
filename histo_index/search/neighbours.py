"""Find what else looks like a tile."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from histo_index.errors import InputError
from histo_index.indexer.opened import OpenIndex
from histo_index.search.copies import drop_copies, near_limit
from histo_index.search.distances import pair_distances
from histo_index.search.filtering import Bools, Filters, group_queries
from histo_index.search.verdicts import Threshold, Verdict

Floats = npt.NDArray[np.float32]
Halves = npt.NDArray[np.float16]
Rows = npt.NDArray[np.int64]

# FAISS orders near-copies by rounding noise; a few candidates more let the exact distance decide.
_SPARE: Final = 8
# Where copies were dropped and too few tiles are left, this many times as many are looked at.
_GROWTH: Final = 4

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """A tile of the index that is near a query.

    Attributes:
        rank: 1 is the nearest.
        image_id: the tile.
        path: its file, relative to the source root.
        distance: squared distance, 0…4; smaller is more alike.
        metadata: the user's own columns.
        verdict: whether it is of the query's category; None without a calibration, as what follows.
        probability: that it is, 0…1.
        probability_low: lower end of the 95 % interval.
        probability_high: upper end.
    """

    rank: int
    image_id: str
    path: str
    distance: float
    metadata: Mapping[str, Any] = field(default_factory=dict)
    verdict: Verdict | None = None
    probability: float | None = None
    probability_low: float | None = None
    probability_high: float | None = None


def nearest(
    index: OpenIndex,
    queries: Halves,
    *,
    k: int,
    own_rows: Sequence[int | None],
    exclude_self: bool = True,
    filters: Filters | None = None,
) -> list[list[Neighbour]]:
    """Find the nearest tiles of each query, nearest first.

    Args:
        index: where to search.
        queries: float16 [Q, D], rows of length 1.
        k: how many; fewer come back only if fewer may.
        own_rows: [Q], the row that the query itself is, or None.
        exclude_self: leave that row out.
        filters: which tiles may come back; left out, all.

    Raises:
        InputError: k is not positive, or the filters do not fit the index.
        IndexFormatError: a file that is needed is damaged.
    """
    if k < 1:
        raise InputError(f"k is {k}; expected at least 1")
    filters = filters or Filters()
    own = np.array([-1 if row is None or not exclude_self else row for row in own_rows], np.int64)
    found: list[list[Neighbour]] = [[] for _ in own_rows]
    limit = near_limit(index) if filters.near_duplicates == "drop" else None
    search = _Search(index=index, k=k, limit=limit)
    for group in group_queries(index.rows, filters, own_rows):
        places = group.queries
        for position, (rows, distances) in search.run(queries[places], own[places], group.allowed):
            found[places[position]] = [
                _neighbour(index, int(row), float(distance), rank)
                for rank, (row, distance) in enumerate(zip(rows, distances, strict=True), 1)
            ]
    if fewest := min((len(row) for row in found if len(row) < k), default=None):
        _log.warning("k is %d but only %d tiles can come back: fewer are given", k, fewest)
    return found


@dataclass(frozen=True, kw_only=True)
class _Search:
    """A search for k tiles; `limit` is how near copies are that are dropped, None keeps them."""

    index: OpenIndex
    k: int
    limit: float | None

    def run(
        self, queries: Halves, own: Rows, allowed: Bools | None
    ) -> Iterator[tuple[int, tuple[Rows, Floats]]]:
        """Give each query's position, and its nearest rows with their distances, as found."""
        total = len(self.index) if allowed is None else int(allowed.sum())
        count, pending = min(self.k + 1 + _SPARE, total), np.arange(len(queries))
        while len(pending) and count:
            floats = queries[pending].astype(np.float32)
            candidates = self.index.structure.search(floats, count, allowed)
            short = []
            for position, found in zip(pending.tolist(), candidates, strict=True):
                rows, distances = self._rank(queries[position], found, own[position])
                if len(rows) < self.k and count < total:
                    short.append(position)
                else:
                    yield position, (rows[: self.k], distances[: self.k])
            count, pending = min(_GROWTH * count, total), np.array(short, np.int64)

    def _rank(self, query: Halves, found: Rows, own: int) -> tuple[Rows, Floats]:
        """Order candidates by their exact distance, ties by row."""
        rows = np.sort(found[(found >= 0) & (found != own)])
        vectors = self.index.vectors(rows)
        distances = pair_distances(np.broadcast_to(query, vectors.shape), vectors)
        order = np.argsort(distances, kind="stable")
        if self.limit is None:
            return rows[order], distances[order]
        return drop_copies(self.index, rows[order], distances[order], limit=self.limit)


def _neighbour(index: OpenIndex, row: int, distance: float, rank: int) -> Neighbour:
    facts = index.row(row)
    image_id, path = facts.pop("image_id"), facts.pop("path")
    for name in ("sha256", "width", "height", "note"):
        del facts[name]
    return Neighbour(rank=rank, image_id=image_id, path=path, distance=distance, metadata=facts)


def judged(found: Sequence[Neighbour], threshold: Threshold, *, is_far: bool) -> list[Neighbour]:
    """Say of each neighbour how probably it is of the query's category.

    Args:
        found: the neighbours of a query.
        threshold: what verdicts rest on; without a calibration nothing is said.
        is_far: whether the query is unlike everything in the index.
    """
    distances = np.array([neighbour.distance for neighbour in found])
    chances = threshold.likelihoods(distances)
    if chances is None:
        return list(found)
    verdicts = threshold.judge(distances, np.full(len(found), is_far)).to_pylist()
    columns = (verdicts, chances.probability, chances.low, chances.high)
    return [
        replace(
            neighbour,
            verdict=Verdict(verdict),
            probability=float(probability),
            probability_low=float(low),
            probability_high=float(high),
        )
        for neighbour, verdict, probability, low, high in zip(found, *columns, strict=True)
    ]
