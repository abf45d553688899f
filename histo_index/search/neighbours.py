"""Find what else looks like a tile."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from histo_index.errors import HistoIndexError
from histo_index.indexer.opened import OpenIndex
from histo_index.search.filtering import Filters
from histo_index.search.ranking import NOBODY, nearest_rows
from histo_index.search.verdicts import Threshold, Verdict

Halves = npt.NDArray[np.float16]

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


# What a query of a batch gets: its neighbours, or the reason that it has none.
Answered = list[Neighbour] | HistoIndexError


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
    found = nearest_rows(
        index,
        queries,
        k=k,
        own_rows=own_rows,
        exclude_self=exclude_self,
        filters=filters,
    )
    answers = [
        [
            _neighbour(index, int(row), float(distance), rank)
            for rank, (row, distance) in enumerate(zip(rows, distances, strict=True), 1)
            if row != NOBODY
        ]
        for rows, distances in zip(found.rows, found.distances, strict=True)
    ]
    fewest = min(map(len, answers), default=k)
    if 0 < fewest < k:
        _log.warning("k is %d but only %d tiles can come back: fewer are given", k, fewest)
    return answers


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
