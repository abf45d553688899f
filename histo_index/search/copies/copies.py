"""Decide which candidate pairs are copies: the same pixels, or without files a tiny distance."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from histo_index.arrays import Bools, Float32, Int64
from histo_index.indexer.reader import OpenIndex
from histo_index.search.copies.candidates import Candidates, find_candidates
from histo_index.search.copies.limits import CORRELATION, THUMBNAIL_PX, CopyLimits
from histo_index.search.copies.pixels import are_alike
from histo_index.search.copies.tile_files import TileFiles, Wanted, read_wanted, wanted_rows


@dataclass(frozen=True, kw_only=True)
class Copies:
    """Pairs of tiles of different content that are copies.

    Attributes:
        pairs: rows and plain distances.
        is_confirmed: bool [P], whether the pixels agree; false where a file is missing.
    """

    pairs: Candidates
    is_confirmed: Bools


def find_copies(
    index: OpenIndex,
    rows: Int64,
    limits: CopyLimits,
    files: TileFiles | None,
) -> Copies:
    """Find copies among tiles of different content.

    Args:
        index: whose tiles.
        rows: int64 [n], ascending; no two of the same content.
        limits: see `copy_limits`.
        files: the tile files; None confirms nothing.

    Raises:
        IndexFormatError: an embedding is damaged.
    """
    limit = limits.unconfirmed if files is None else limits.candidate
    found = find_candidates(index, rows, limit, is_wide=files is not None)
    tiles = np.unique(np.concatenate([found.left, found.right]))
    wanted = wanted_rows(index, tiles, files)
    left, right = np.searchsorted(tiles, found.left), np.searchsorted(tiles, found.right)
    is_copy, is_confirmed = confirm(
        wanted, left, right, found.distances, limits=limits, files=files
    )
    pairs = Candidates(
        left=found.left[is_copy], right=found.right[is_copy], distances=found.distances[is_copy]
    )
    return Copies(pairs=pairs, is_confirmed=is_confirmed[is_copy])


def confirm(
    wanted: Sequence[Wanted | None],
    left: Int64,
    right: Int64,
    distances: Float32,
    *,
    limits: CopyLimits,
    files: TileFiles | None,
) -> tuple[Bools, Bools]:
    """Compare candidate pairs on their pixels; by distance alone where a file is missing.

    Args:
        wanted: the file of each of n images, or None where there is none.
        left: int64 [P], the first image of each pair, 0 to n-1.
        right: int64 [P], the second.
        distances: float32 [P], plain ones.
        limits: see `copy_limits`.
        files: reads the files; None confirms nothing.

    Returns:
        bool [P]: whether a pair is a copy, and whether its pixels agree.
    """
    is_there = np.zeros(len(wanted), bool)
    thumbnails = np.zeros((len(wanted), THUMBNAIL_PX, THUMBNAIL_PX), np.uint8)
    for image, pixels in read_wanted(wanted, files, THUMBNAIL_PX):
        is_there[image], thumbnails[image] = True, pixels
    is_known = is_there[left] & is_there[right]
    is_confirmed = is_known.copy()
    is_confirmed[is_known] = are_alike(thumbnails, left[is_known], right[is_known], CORRELATION)
    is_copy = np.where(is_known, is_confirmed, distances <= limits.unconfirmed)
    return is_copy, is_confirmed
