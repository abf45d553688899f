"""Decide which candidate pairs are copies: the same pixels, or without files a tiny distance."""

from dataclasses import dataclass

import numpy as np

from histo_index.arrays import Bools, Float32, Int64
from histo_index.indexer.embeddings import read_embeddings
from histo_index.indexer.nearest.kernel import row_distances
from histo_index.indexer.reader import OpenIndex
from histo_index.search.copies.candidates import find_candidates
from histo_index.search.copies.limits import CORRELATION, NEIGHBOURS, CopyLimits
from histo_index.search.copies.pixels import are_alike
from histo_index.search.copies.tile_files import TileFiles, read_wanted, wanted_rows


@dataclass(frozen=True, kw_only=True)
class Copies:
    """Pairs of tiles of different content that are copies.

    Attributes:
        left: int64 [P], the smaller row of each pair.
        right: int64 [P], the larger row.
        distances: float32 [P], plain squared distances.
        is_confirmed: bool [P], whether the pixels agree; false where a file is missing.
    """

    left: Int64
    right: Int64
    distances: Float32
    is_confirmed: Bools


def find_copies(
    index: OpenIndex,
    rows: Int64,
    limits: CopyLimits,
    files: TileFiles | None,
    *,
    neighbours: int = NEIGHBOURS,
) -> Copies:
    """Find copies among tiles of different content.

    Args:
        index: whose tiles.
        rows: int64 [n], ascending; no two of the same content.
        limits: see `copy_limits`.
        files: the tile files; None confirms nothing.
        neighbours: nearest tiles of each tile that are compared with it.

    Raises:
        IndexFormatError: an embedding is damaged.
    """
    limit = limits.unconfirmed if files is None else limits.confirmed
    left, right = find_candidates(
        index, rows, limit, neighbours=neighbours, is_wide=files is not None
    )
    tiles = np.unique(np.concatenate([left, right]))
    is_there, thumbnails = read_wanted(wanted_rows(index, tiles, files), files)
    ends = np.searchsorted(tiles, left), np.searchsorted(tiles, right)
    is_known = is_there[ends[0]] & is_there[ends[1]]
    is_confirmed = is_known.copy()
    is_confirmed[is_known] = are_alike(
        thumbnails, ends[0][is_known], ends[1][is_known], CORRELATION
    )
    is_open = is_confirmed | ~is_known
    left, right, is_confirmed = left[is_open], right[is_open], is_confirmed[is_open]
    distances = _measure(index, left, right)
    is_copy = limits.allow(distances, is_confirmed)
    return Copies(
        left=left[is_copy],
        right=right[is_copy],
        distances=distances[is_copy],
        is_confirmed=is_confirmed[is_copy],
    )


def _measure(index: OpenIndex, left: Int64, right: Int64) -> Float32:
    """Compute the plain distances of pairs of rows, float32 [P]."""
    known = np.unique(np.concatenate([left, right]))
    embeddings = read_embeddings(index, known)
    return row_distances(
        embeddings,
        embeddings,
        left_rows=np.searchsorted(known, left),
        right_rows=np.searchsorted(known, right),
    )
