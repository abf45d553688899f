"""Scale embeddings to unit length."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from histo_index.arrays import Bools, Float16, Float64
from histo_index.indexer.nearest.kernel import to_float16

# float16 stores components of a unit vector within 2**-11 of themselves, and so its length.
_ROUNDING: Final = 2.0**-11
# What float32 squares without a value that is too large, or so small that it is lost.
_SAFE: Final = (1e-15, 1e15)
# Rows are read three times: so many bytes of them stay in a core's own cache.
_CACHED_BYTES: Final = 2**19


def unit_rows(values: npt.NDArray[Any]) -> tuple[Float16, Float64]:
    """Scale rows to unit length.

    A row that has unit length within the rounding of float16 stays as it is: what an index stored
    comes back bit by bit.

    Args:
        values: numbers [n, D].

    Returns:
        float16 [n, D], and the length that each row had, float64 [n]. A row whose length is 0, NaN
        or infinite cannot be used and is 0 throughout.
    """
    halves, lengths = np.empty(values.shape, np.float16), np.empty(len(values))
    step = max(1, _CACHED_BYTES // (4 * values.shape[1]))
    for start in range(0, len(values), step):
        part = slice(start, start + step)
        lengths[part] = _scale(values[part], halves[part])
    return halves, lengths


def _scale(values: npt.NDArray[Any], halves: Float16) -> Float64:
    """Write scaled rows to `halves` and return their lengths."""
    rows = np.ascontiguousarray(values, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        lengths: Float64 = np.sqrt(np.vecdot(rows, rows)).astype(np.float64)
    is_doubtful = ~((lengths > _SAFE[0]) & (lengths < _SAFE[1]))
    scales = np.where(is_doubtful | (np.abs(lengths - 1) <= _ROUNDING), 1, lengths)
    if (scales != 1).any():
        rows = rows * (1 / scales[:, None]).astype(np.float32)
    if is_doubtful.any():
        rows, exact = rows.copy(), values[is_doubtful].astype(np.float64)
        lengths[is_doubtful] = np.linalg.norm(exact, axis=1)
        usable = is_usable(lengths[is_doubtful])
        rows[is_doubtful] = np.where(
            usable[:, None], exact / np.where(usable, lengths[is_doubtful], 1)[:, None], 0
        )
    to_float16(rows, halves)
    return lengths


def is_usable(lengths: Float64) -> Bools:
    """Return which lengths are those of usable rows: bool [n]."""
    return (lengths > 0) & (lengths < np.inf)
