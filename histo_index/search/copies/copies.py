"""Decide which candidate pairs are copies: the same bytes, the same pixels, or a tiny distance."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from histo_index.arrays import Bools, Int64
from histo_index.indexer.reader import OpenIndex
from histo_index.search.copies.candidates import Candidates, Progress, find_candidates
from histo_index.search.copies.limits import CORRELATION, THUMBNAIL_PX, CopyLimits
from histo_index.search.copies.pixels import ReadThumbnails, correlations


@dataclass(frozen=True, kw_only=True)
class TileFiles:
    """The files of an index, to compare pixels.

    Attributes:
        root: the folder that tile paths are relative to.
        read: reads thumbnails.
    """

    root: Path
    read: ReadThumbnails


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
    *,
    progress: Progress,
) -> Copies:
    """Find copies among tiles of different content.

    Args:
        index: whose tiles.
        rows: int64 [n], ascending; no two of the same content.
        limits: see `copy_limits`.
        files: the tile files; None confirms nothing.
        progress: called with stage, done and total.

    Raises:
        IndexFormatError: an embedding is damaged.
    """
    return confirm(
        index,
        find_candidates(index, rows, limits.candidate, progress=progress),
        limits,
        files,
        progress=progress,
    )


def confirm(
    index: OpenIndex,
    found: Candidates,
    limits: CopyLimits,
    files: TileFiles | None,
    *,
    progress: Progress,
) -> Copies:
    """Keep the candidates that are copies; see `find_copies`."""
    rows = np.unique(np.concatenate([found.left, found.right]))
    is_there = np.zeros(len(rows), bool)
    thumbnails = np.zeros((len(rows), THUMBNAIL_PX, THUMBNAIL_PX), np.float32)
    if files is not None and len(rows):
        tiles = index.rows.take(pa.array(rows))
        paths = [files.root / path for path in tiles["path"].to_pylist()]
        digests: Sequence[str] = tiles["sha256"].to_pylist()
        for place, one in enumerate(files.read(paths, THUMBNAIL_PX)):
            # A file that was changed since the build is not the tile that was indexed.
            if one is not None and one.sha256 == digests[place]:
                is_there[place], thumbnails[place] = True, one.pixels
            progress("confirming", place + 1, len(rows))
    left, right = np.searchsorted(rows, found.left), np.searchsorted(rows, found.right)
    is_known = is_there[left] & is_there[right]
    is_confirmed = is_known.copy()
    agreement = correlations(thumbnails, left[is_known], right[is_known])
    is_confirmed[is_known] = agreement >= CORRELATION
    is_copy = np.where(is_known, is_confirmed, found.distances <= limits.unconfirmed)
    pairs = Candidates(
        left=found.left[is_copy], right=found.right[is_copy], distances=found.distances[is_copy]
    )
    return Copies(pairs=pairs, is_confirmed=is_confirmed[is_copy])
