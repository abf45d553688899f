"""Find what else looks like a tile."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from histo_index.errors import HistoIndexError
from histo_index.indexer.opened import OpenIndex
from histo_index.search.ranking import NOBODY, Found
from histo_index.search.verdicts import Threshold, Verdict


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


def neighbours_of(index: OpenIndex, found: Found) -> list[list[Neighbour]]:
    """Say which tiles were found near each query, nearest first.

    Args:
        index: where.
        found: rows and distances, as `nearest_rows` gives them.
    """
    return [
        [
            _neighbour(index, int(row), float(distance), rank)
            for rank, (row, distance) in enumerate(zip(rows, distances, strict=True), 1)
            if row != NOBODY
        ]
        for rows, distances in zip(found.rows, found.distances, strict=True)
    ]


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
