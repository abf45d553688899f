"""What counts as a copy: every limit in one place.

Chosen on training tiles only, at most 40 of each of 16 sources, see docs/benchmarks.md.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from histo_index.errors import InputError
from histo_index.indexer.embeddings import read_embeddings
from histo_index.indexer.reader import OpenIndex
from histo_index.search.distance import pair_distances

# Shares of the median plain distance of two random tiles of the index. Up to the first, two tiles
# are copies even where no file is there to confirm it; up to the second they are candidates. Of
# copies that were mirrored, turned by 90° or cut to nine tenths 99 % lie within the second.
UNCONFIRMED: Final = 0.01
CANDIDATE: Final = 0.2
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
        candidate: squared distance up to which the pixels are compared.
        unconfirmed: squared distance up to which two tiles are copies without their pixels.
    """

    candidate: float
    unconfirmed: float


def copy_limits(index: OpenIndex, threshold: float | None = None) -> CopyLimits:
    """Compute the limits of an index.

    Shares of the median distance between random tiles, so that they mean the same for every
    encoder, however narrow the cone that its embeddings lie in.

    Args:
        index: whose tiles.
        threshold: replaces both limits.

    Raises:
        InputError: the threshold is no distance.
        IndexFormatError: an embedding that is needed is damaged.
    """
    if threshold is not None:
        if not 0 <= threshold <= 4:
            raise InputError(f"threshold is {threshold}; expected a distance from 0 to 4")
        return CopyLimits(candidate=threshold, unconfirmed=threshold)
    median = _median_distance(index) if len(index) > 1 else 0.0
    return CopyLimits(candidate=CANDIDATE * median, unconfirmed=UNCONFIRMED * median)


def _median_distance(index: OpenIndex) -> float:
    starts = np.linspace(0, max(0, len(index) - _SAMPLE_ROWS), _SAMPLE_BLOCKS).astype(np.int64)
    rows = np.unique(starts[:, None] + np.arange(_SAMPLE_ROWS))
    rows = rows[rows < len(index)]
    embeddings = read_embeddings(index, np.random.default_rng(0).permutation(rows))
    return float(np.median(pair_distances(embeddings, np.roll(embeddings, 1, axis=0))))
