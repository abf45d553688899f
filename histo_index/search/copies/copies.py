"""Decide which candidate pairs are copies: the same bytes, the same pixels, or a tiny distance."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from histo_index.arrays import Bools, Int64
from histo_index.indexer.reader import OpenIndex
from histo_index.progress import track
from histo_index.search.copies.candidates import Candidates, find_candidates
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
    return confirm(index, find_candidates(index, rows, limits.candidate), limits, files)


def confirm(
    index: OpenIndex,
    found: Candidates,
    limits: CopyLimits,
    files: TileFiles | None,
) -> Copies:
    """Keep the candidates that are copies; see `find_copies`."""
    rows = np.unique(np.concatenate([found.left, found.right]))
    is_there = np.zeros(len(rows), bool)
    thumbnails = np.zeros((len(rows), THUMBNAIL_PX, THUMBNAIL_PX), np.float32)
    if files is not None and len(rows):
        tiles = index.rows.take(pa.array(rows))
        paths = [files.root / path for path in tiles["path"].to_pylist()]
        digests: Sequence[str] = tiles["sha256"].to_pylist()
        read = track(files.read(paths, THUMBNAIL_PX), "confirming", total=len(rows))
        for row, one in enumerate(read):
            # A file that was changed since the build is not the tile that was indexed.
            if one is not None and one.sha256 == digests[row]:
                is_there[row], thumbnails[row] = True, one.pixels
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
