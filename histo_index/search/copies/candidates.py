"""Candidate copies: the nearest others of each tile, found in nearly linear time.

They are looked for in a few dimensions: an orthonormal projection never makes two embeddings lie
further apart.
"""

from typing import Final

import numpy as np

from histo_index.arrays import Float32, Int64
from histo_index.indexer.embeddings import iterate_embeddings, read_embeddings
from histo_index.indexer.nearest.kernel import to_float32
from histo_index.indexer.reader import OpenIndex
from histo_index.progress import report
from histo_index.search.copies.limits import NEIGHBOURS
from histo_index.search.neighbours.close_pairs import principal_directions

_DIRECTIONS: Final = 64
# What float32 may lose in squared distances between vectors of length 1.
_ROUNDING: Final = 1e-4
_SAMPLE: Final = 4096


def find_candidates(
    index: OpenIndex,
    rows: Int64,
    limit: float,
    *,
    neighbours: int = NEIGHBOURS,
    is_wide: bool = True,
) -> tuple[Int64, Int64]:
    """Pair each tile with its nearest others.

    Args:
        index: whose tiles.
        rows: int64 [n], ascending: the tiles to pair.
        limit: squared distance. No nearer pair is left out; some that are further apart are among
            the candidates.
        neighbours: how many others of each tile.
        is_wide: whether the limit is far above the distance of copies that are saved again.

    Returns:
        int64 [P] twice, the smaller row first: each pair once.

    Raises:
        IndexFormatError: an embedding is damaged.
    """
    if len(rows) < 2:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    # Imported here: it brings FAISS.
    from histo_index.indexer.nearest.self_join import FEW_LISTS, LISTS, nearest_others

    left, right = nearest_others(
        _project(index, rows),
        neighbours,
        limit=limit + _ROUNDING,
        searched=LISTS if is_wide else FEW_LISTS,
        report=lambda done: report("comparing", done, len(rows)),
    )
    return rows[left], rows[right]


def _project(index: OpenIndex, rows: Int64) -> Float32:
    """Project embeddings on the directions in which they differ most: float32 [n, d]."""
    drawn = rows[np.linspace(0, len(rows) - 1, min(_SAMPLE, len(rows))).astype(np.int64)]
    basis = principal_directions(to_float32(read_embeddings(index, drawn)), _DIRECTIONS)
    return np.concatenate([to_float32(block) @ basis for block in iterate_embeddings(index, rows)])
