"""Find what else looks like a tile."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from histo_index.errors import InputError
from histo_index.indexer.opened import OpenIndex
from histo_index.search.distances import pair_distances

Halves = npt.NDArray[np.float16]

# FAISS orders near-copies by rounding noise; a few candidates more let the exact distance decide.
_SPARE: Final = 8


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """A tile of the index that is near a query.

    Attributes:
        rank: 1 is the nearest.
        image_id: the tile.
        path: its file, relative to the source root.
        distance: squared distance, 0…4; smaller is more alike.
        metadata: the user's own columns.
    """

    rank: int
    image_id: str
    path: str
    distance: float
    metadata: Mapping[str, Any] = field(default_factory=dict)


def nearest(
    index: OpenIndex, queries: Halves, *, k: int, own_rows: list[int | None]
) -> list[list[Neighbour]]:
    """Find the nearest tiles of each query, nearest first.

    Args:
        index: where to search.
        queries: float16 [Q, D], rows of length 1.
        k: how many; fewer come back if the index holds fewer.
        own_rows: [Q], the row to leave out because it is the query itself, or None.

    Raises:
        InputError: k is not positive.
        IndexFormatError: a file that is needed is damaged.
    """
    if k < 1:
        raise InputError(f"k is {k}; expected at least 1")
    count = min(k + 1 + _SPARE, len(index))
    candidates = index.structure.search(queries.astype(np.float32), count)
    return [
        _rank(index, query, rows[(rows >= 0) & (rows != own)], k)
        for query, rows, own in zip(
            queries, candidates, [-1 if own is None else own for own in own_rows], strict=True
        )
    ]


def _rank(index: OpenIndex, query: Halves, rows: npt.NDArray[np.int64], k: int) -> list[Neighbour]:
    """Order candidates by their exact distance."""
    rows = np.sort(rows)
    vectors = index.vectors(rows)
    distances = pair_distances(np.broadcast_to(query, vectors.shape), vectors)
    order = np.argsort(distances, kind="stable")[:k]
    return [
        _neighbour(index, int(rows[place]), float(distances[place]), rank)
        for rank, place in enumerate(order, 1)
    ]


def _neighbour(index: OpenIndex, row: int, distance: float, rank: int) -> Neighbour:
    facts = index.row(row)
    image_id, path = facts.pop("image_id"), facts.pop("path")
    for name in ("sha256", "width", "height", "note"):
        del facts[name]
    return Neighbour(rank=rank, image_id=image_id, path=path, distance=distance, metadata=facts)
