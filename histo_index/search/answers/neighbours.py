"""The nearest tiles of a query as records, with verdicts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from histo_index.errors import HistoIndexError
from histo_index.indexer.reader import OpenIndex
from histo_index.search.calibration.threshold import Threshold, Verdict
from histo_index.search.classification.answer import ClassAnswer
from histo_index.search.neighbours.nearest import NOBODY, Found


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """A tile of the index that is near a query.

    Attributes:
        rank: 1 is the nearest.
        image_id: the tile.
        path: its file, relative to the source root.
        distance: squared distance, 0…4; smaller is more alike.
        metadata: the user's own columns.
        label: its class, as the calibration knows it; None without one.
        verdict: whether it is of the query's category; None without a threshold.
        probability: of the query being of this tile's class, 0…1; None where the class model has
            none, as what follows.
        probability_low: lower end of the 95 % interval.
        probability_high: upper end.
    """

    rank: int
    image_id: str
    path: str
    distance: float
    metadata: Mapping[str, Any] = field(default_factory=dict)
    label: str | None = None
    verdict: Verdict | None = None
    probability: float | None = None
    probability_low: float | None = None
    probability_high: float | None = None


class Nearest(list[Neighbour]):
    """The neighbours of a query, nearest first.

    Attributes:
        classes: what class the query is of; None without a class model.
    """

    def __init__(
        self, found: Iterable[Neighbour] = (), *, classes: ClassAnswer | None = None
    ) -> None:
        """Set the neighbours and the classes."""
        super().__init__(found)
        self.classes = classes


# What a query of a batch gets: its neighbours, or the reason that it has none.
Answered = Nearest | HistoIndexError


def neighbours_of(index: OpenIndex, found: Found) -> list[list[Neighbour]]:
    """Build the result rows of each query, nearest first.

    Args:
        index: the index.
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


def add_verdicts(
    found: Sequence[Neighbour], threshold: Threshold, *, is_far: bool
) -> list[Neighbour]:
    """Add verdicts to the neighbours of a query.

    There are no probabilities: those of pairs are too high for the nearest of many tiles.

    Args:
        found: the neighbours of a query.
        threshold: decides the verdicts.
        is_far: whether the query is novel.
    """
    if threshold.value is None:
        return list(found)
    distances = np.array([neighbour.distance for neighbour in found])
    verdicts = threshold.verdicts(distances, np.full(len(found), is_far)).to_pylist()
    pairs = zip(found, verdicts, strict=True)
    return [replace(neighbour, verdict=Verdict(verdict)) for neighbour, verdict in pairs]
