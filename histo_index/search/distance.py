"""The one distance: squared Euclidean between unit vectors."""

from itertools import product
from typing import Final

import numpy as np
import numpy.typing as npt

from histo_index.arrays import Float16, Float32, Int64
from histo_index.errors import ShapeError
from histo_index.indexer.nearest.kernel import row_distances
from histo_index.indexer.reader import OpenIndex

# Float16 rounding of a unit vector moves its length by at most 2**-11.
_LENGTH_TOLERANCE: Final = 1e-3


def pair_distances(left: npt.NDArray[np.floating], right: npt.NDArray[np.floating]) -> Float32:
    """Measure how far apart the two images of each pair are.

    Squared Euclidean distance between unit vectors, no unit: 0 same direction, 2 unrelated,
    4 opposite. Smaller is more alike.

    Args:
        left: floats [P, D], rows of length 1. Row i is the first image of pair i.
        right: floats [P, D], rows of length 1. Row i is the second image of pair i.

    Returns:
        float32 [P], in the order given. No pairs in, no distances out.

    Raises:
        ShapeError: the shapes differ, are not 2-D, or a row is not of length 1.

    Source: Grill et al. (2020), Bootstrap your own latent, equation 2.
    """
    if left.shape != right.shape or left.ndim != 2:
        raise ShapeError(
            f"cannot pair arrays of shape {list(left.shape)} and {list(right.shape)}; "
            "expected two of [P, D]"
        )
    # Converted once: numpy takes longer over float16 than over all the rest.
    first, second = np.asarray(left, np.float32), np.asarray(right, np.float32)
    for array in (first, second):
        _require_unit(array)
    return squared_gaps(first, second)


def squared_gaps(left: npt.NDArray[np.floating], right: npt.NDArray[np.floating]) -> Float32:
    """Measure what `pair_distances` does, of rows that are known to be unit vectors.

    Args:
        left: floats [P, D], or [1, D]: the same one for all.
        right: floats [P, D].
    """
    # The squared gap keeps its digits for near-copies, where 2 - 2·dot in float32 is mostly
    # rounding noise.
    gap = np.asarray(left, np.float32) - np.asarray(right, np.float32)
    distances: Float32 = np.einsum("pd,pd->p", gap, gap)
    return distances


def _require_unit(vectors: Float32) -> None:
    lengths = np.linalg.norm(vectors, axis=1)
    worst = float(np.abs(lengths - 1).max(initial=0))
    if not worst <= _LENGTH_TOLERANCE:
        raise ShapeError(f"a row has length {1 + worst:.4g} or so; expected 1: normalise the rows")


def take_vectors(index: OpenIndex, extra: Float16, places: Int64) -> Float16:
    """Gather vectors, float16 [n, D], from the index and from those beside it; see `Resolved`."""
    if not len(extra):
        return index.vectors(places)
    outside = places >= len(index)
    vectors = np.empty((len(places), extra.shape[1]), np.float16)
    vectors[~outside] = index.vectors(places[~outside])
    vectors[outside] = extra[places[outside] - len(index)]
    return vectors


# 50 MB of row numbers, sorted copies and masks. More pairs at a time read the vectors more nearly
# in order.
_PIECE_PAIRS: Final = 1 << 20


def indexed_pair_distances(
    index: OpenIndex,
    extra: Float16,
    left: Int64,
    right: Int64,
    *,
    piece_pairs: int = _PIECE_PAIRS,
) -> Float32:
    """Compute the distances of pairs of stored vectors, in memory independent of the list.

    The reference is `pair_distances` on gathered vectors.

    Args:
        index: holds the vectors of rows 0 to N - 1.
        extra: float16 [m, D], the vectors of rows N to N + m - 1.
        left: int64 [P], row of the first image of each pair.
        right: int64 [P], row of the second.
        piece_pairs: pairs computed at a time.

    Returns:
        float32 [P].

    Raises:
        IndexFormatError: a vector that is needed is damaged.
    """
    distances = np.empty(len(left), np.float32)
    for start in range(0, len(left), piece_pairs):
        part = slice(start, start + piece_pairs)
        distances[part] = _piece_distances(index, extra, left[part], right[part])
    return distances


def _piece_distances(index: OpenIndex, extra: Float16, left: Int64, right: Int64) -> Float32:
    for places in (left, right):
        index.verify(places[places < len(index)])
    # In the order of their first images, so that these are read as they lie, each once: 1.2 times
    # the pairs/s for random pairs of a million images.
    order = np.argsort(left)
    left, right = left[order], right[order]
    found = np.empty(len(left), np.float32)
    # Where the vectors lie, and the place that the first of them has.
    sources = [(index.matrix, 0)] + ([(extra, len(index))] if len(extra) else [])
    for (first, first_start), (second, second_start) in product(sources, repeat=2):
        is_here = _lies_in(left, first_start, len(first))
        is_here &= _lies_in(right, second_start, len(second))
        found[is_here] = row_distances(
            first,
            second,
            left_rows=left[is_here] - first_start,
            right_rows=right[is_here] - second_start,
        )
    distances = np.empty_like(found)
    distances[order] = found
    return distances


def _lies_in(places: Int64, start: int, length: int) -> npt.NDArray[np.bool_]:
    return (places >= start) & (places < start + length)
