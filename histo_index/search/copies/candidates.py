"""Candidate copies: pairs of tiles within a small plain distance, found in nearly linear time.

An orthonormal projection never makes two embeddings lie further apart. So pairs are looked for in a
few dimensions, and only those that are close there are measured in all of them.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from histo_index.arrays import Float32, Int64
from histo_index.indexer.embeddings import iterate_embeddings, read_embeddings
from histo_index.indexer.nearest.kernel import row_distances, to_float32
from histo_index.indexer.reader import OpenIndex
from histo_index.progress import report
from histo_index.search.neighbours.close_pairs import principal_directions

_DIRECTIONS: Final = 64
# Nearest tiles of each tile that may be its copies.
_NEIGHBOURS: Final = 16
# What float32 may lose in squared distances between vectors of length 1.
_ROUNDING: Final = 1e-4
_SAMPLE: Final = 4096


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Pairs of tiles.

    Attributes:
        left: int64 [P], the smaller row of each pair.
        right: int64 [P], the larger row.
        distances: float32 [P], plain squared distances.
    """

    left: Int64
    right: Int64
    distances: Float32


def find_candidates(
    index: OpenIndex, rows: Int64, limit: float, *, is_wide: bool = True
) -> Candidates:
    """Find pairs of tiles whose plain distance is at most a limit.

    Args:
        index: whose tiles.
        rows: int64 [n], ascending: the tiles to pair.
        limit: squared distance. At most _NEIGHBOURS others of each tile are considered.
        is_wide: whether the limit is far above the distance of copies that are saved again.

    Raises:
        IndexFormatError: an embedding is damaged.
    """
    if len(rows) < 2:
        nothing = np.empty(0, np.int64)
        return Candidates(left=nothing, right=nothing, distances=np.empty(0, np.float32))
    # Imported here: it brings FAISS.
    from histo_index.indexer.nearest.self_join import FEW_LISTS, LISTS, nearest_others

    short = _project(index, rows)
    left, right = nearest_others(
        short,
        _NEIGHBOURS,
        limit=limit + _ROUNDING,
        searched=LISTS if is_wide else FEW_LISTS,
        report=lambda done: report("comparing", done, len(rows)),
    )
    left, right = rows[left], rows[right]
    known = np.unique(np.concatenate([left, right]))
    embeddings = read_embeddings(index, known)
    distances = row_distances(
        embeddings,
        embeddings,
        left_rows=np.searchsorted(known, left),
        right_rows=np.searchsorted(known, right),
    )
    is_near = distances <= limit
    return Candidates(left=left[is_near], right=right[is_near], distances=distances[is_near])


def _project(index: OpenIndex, rows: Int64) -> Float32:
    """Project embeddings on the directions in which they differ most: float32 [n, d]."""
    drawn = rows[np.linspace(0, len(rows) - 1, min(_SAMPLE, len(rows))).astype(np.int64)]
    basis = principal_directions(to_float32(read_embeddings(index, drawn)), _DIRECTIONS)
    return np.concatenate([to_float32(block) @ basis for block in iterate_embeddings(index, rows)])
