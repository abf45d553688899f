"""What counts as a copy: every limit in one place.

Chosen on training tiles only, at most 40 of each of 16 sources, see docs/benchmarks.md.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from histo_index.arrays import Bools, Float32, Int64
from histo_index.errors import InputError
from histo_index.indexer.embeddings import read_embeddings
from histo_index.indexer.reader import OpenIndex
from histo_index.search.distance import pair_distances

# Share of the median plain distance of two random tiles of the index, up to which two tiles are
# copies where no file is there to compare pixels.
UNCONFIRMED: Final = 0.01
# Nearest tiles of each tile that are compared with it on pixels. A number and no distance: how far
# copies lie from each other differs between encoders and between kinds of tissue.
NEIGHBOURS: Final = 16
_LARGEST_DISTANCE: Final = 4.0
# Pixels of a thumbnail, and the least correlation of two thumbnails of one field. Copies reach
# 0.991, different fields 0.926 at most (8,431,671 pairs).
THUMBNAIL_PX: Final = 32
CORRELATION: Final = 0.95
# Grey levels. In a tile with less contrast noise decides the correlation.
LEAST_CONTRAST: Final = 2.0
# Blocks of rows, spread over the index, from which the median is computed.
_SAMPLE_BLOCKS: Final = 8
_SAMPLE_ROWS: Final = 256


@dataclass(frozen=True, kw_only=True)
class CopyLimits:
    """Plain distances up to which two tiles of an index may be copies.

    Attributes:
        confirmed: squared distance, where the pixels agree.
        unconfirmed: squared distance, where they could not be compared.
    """

    confirmed: float
    unconfirmed: float

    def allow(self, distances: Float32, is_confirmed: Bools) -> Bools:
        """Check which pairs are within their limit, bool [P].

        Args:
            distances: float32 [P], plain ones.
            is_confirmed: bool [P], whether the pixels agree.
        """
        is_allowed: Bools = distances <= np.where(is_confirmed, self.confirmed, self.unconfirmed)
        return is_allowed


def copy_limits(
    index: OpenIndex, threshold: float | None = None, *, rows: Int64 | None = None
) -> CopyLimits:
    """Compute the limits of an index.

    Agreeing pixels are copies at any distance. Without pixels the limit is a share of the median
    distance between random tiles, so that it means the same for every encoder, however narrow the
    cone that its embeddings lie in.

    Args:
        index: whose tiles.
        threshold: replaces both limits.
        rows: int64 [n], ascending: the tiles that the median is of; default: all live ones.

    Raises:
        InputError: the threshold is no distance.
        IndexFormatError: an embedding that is needed is damaged.
    """
    if threshold is not None:
        if not 0 <= threshold <= _LARGEST_DISTANCE:
            raise InputError(f"threshold is {threshold}; expected a distance from 0 to 4")
        return CopyLimits(confirmed=threshold, unconfirmed=threshold)
    median = median_distance(index, index.live_rows() if rows is None else rows)
    return CopyLimits(confirmed=_LARGEST_DISTANCE, unconfirmed=UNCONFIRMED * median)


def median_distance(index: OpenIndex, rows: Int64) -> float:
    """Compute the median plain distance of random pairs of some tiles, 0 where there is none."""
    if len(rows) < 2:
        return 0.0
    starts = np.linspace(0, max(0, len(rows) - _SAMPLE_ROWS), _SAMPLE_BLOCKS).astype(np.int64)
    places = np.unique(starts[:, None] + np.arange(_SAMPLE_ROWS))
    drawn = rows[places[places < len(rows)]]
    embeddings = read_embeddings(index, np.random.default_rng(0).permutation(drawn))
    return float(np.median(pair_distances(embeddings, np.roll(embeddings, 1, axis=0))))
