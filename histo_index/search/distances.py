"""The one distance: squared Euclidean between unit vectors."""

from typing import Final

import numpy as np
import numpy.typing as npt

from histo_index.errors import ShapeError

Floats = npt.NDArray[np.float32]
Halves = npt.NDArray[np.float16]
Rows = npt.NDArray[np.int64]

# Float16 rounding of a unit vector moves its length by at most 2**-11.
_LENGTH_TOLERANCE: Final = 1e-3


def pair_distances(left: npt.NDArray[np.floating], right: npt.NDArray[np.floating]) -> Floats:
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


def squared_gaps(left: npt.NDArray[np.floating], right: npt.NDArray[np.floating]) -> Floats:
    """Measure what `pair_distances` does, of rows that are known to be unit vectors.

    Args:
        left: floats [P, D], or [1, D]: the same one for all.
        right: floats [P, D].
    """
    # The squared gap keeps its digits for near-copies, where 2 - 2·dot in float32 is mostly
    # rounding noise.
    gap = np.asarray(left, np.float32) - np.asarray(right, np.float32)
    distances: Floats = np.einsum("pd,pd->p", gap, gap)
    return distances


def _require_unit(vectors: Floats) -> None:
    lengths = np.linalg.norm(vectors, axis=1)
    worst = float(np.abs(lengths - 1).max(initial=0))
    if not worst <= _LENGTH_TOLERANCE:
        raise ShapeError(f"a row has length {1 + worst:.4g} or so; expected 1: normalise the rows")
