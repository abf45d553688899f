"""Join the neighbours that parts of an index found."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from histo_index.arrays import Float32, Int64

NOBODY: Final = -1


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """Neighbours of some queries, nearest first, ties by row.

    Attributes:
        rows: int64 [Q, K], NOBODY where there are no more.
        distances: float32 [Q, K], infinite there.
    """

    rows: Int64
    distances: Float32


def merge(parts: Sequence[Ranked], count: int) -> Ranked:
    """Take the nearest of all parts: by distance, ties by row, as one index would.

    Args:
        parts: of the same queries, at least one.
        count: how many neighbours of each query.
    """
    rows = np.concatenate([part.rows for part in parts], axis=1)
    distances = np.concatenate([part.distances for part in parts], axis=1)
    order = np.lexsort((rows, distances))[:, :count]
    each = np.arange(len(rows))[:, None]
    return Ranked(rows=rows[each, order], distances=distances[each, order])


def split_rows(count: int, parts: int) -> list[tuple[int, int]]:
    """Divide rows into ranges of nearly equal length, at most one a row.

    Returns:
        First row and end of each part.
    """
    ends = [count * number // parts for number in range(parts + 1)]
    return [(start, stop) for start, stop in pairwise(ends) if start < stop]
