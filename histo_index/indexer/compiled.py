"""The one loop of ours that is compiled: distances between stored float16 rows, by row number.

numpy has no way to read float16 rows where they lie: it copies them and turns them into float32
first, at a tenth of the speed of memory. Importing and compiling takes a second or two, so only
work that is worth it comes here.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.extending import intrinsic

Floats = npt.NDArray[np.float32]
Halves = npt.NDArray[np.float16]
Rows = npt.NDArray[np.int64]

# 16 KB of distances: 1 to 3 ms of work, against which handing a piece to a thread is nothing.
_PIECE: Final = 4096


def row_distances(left: Halves, right: Halves, *, left_rows: Rows, right_rows: Rows) -> Floats:
    """Measure squared distances between rows of two arrays, in no memory but the answer's.

    `pair_distances` on gathered rows is the plain form, and gives the same.

    Args:
        left: float16 [A, D], rows of length 1, C order; may be a mapped file.
        right: float16 [N, D], likewise.
        left_rows: int64 [P], of `left`; not checked.
        right_rows: int64 [P], of `right`.

    Returns:
        float32 [P].
    """
    distances = np.empty(len(left_rows), np.float32)
    left_bits, right_bits = left.view(np.uint16), right.view(np.uint16)

    def measure(start: int) -> None:
        piece = slice(start, start + _PIECE)
        _measure(left_bits, right_bits, left_rows[piece], right_rows[piece], distances[piece])

    cores = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    with ThreadPoolExecutor(cores, thread_name_prefix="distances") as threads:
        for _ in threads.map(measure, range(0, len(left_rows), _PIECE)):
            pass
    return distances


@intrinsic
def _float(_context: Any, bits: Any) -> Any:
    """Read 16 bits as a float16: one machine instruction, which numba itself does not offer."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        half = builder.bitcast(arguments[0], ir.HalfType())
        return builder.fpext(half, ir.FloatType())

    return numba.types.float32(numba.types.uint16), generate


_Matrix: Final = numba.types.Array(numba.types.uint16, 2, "C", readonly=True)


# Any order of addition is right; fixing one would forbid vector instructions.
@numba.njit(
    numba.void(_Matrix, _Matrix, numba.int64[:], numba.int64[:], numba.float32[:]),
    nogil=True,
    fastmath={"reassoc", "contract"},
)
def _measure(left: Any, right: Any, left_rows: Any, right_rows: Any, distances: Any) -> None:
    for pair in range(len(left_rows)):
        a, b = left[left_rows[pair]], right[right_rows[pair]]
        total = numba.float32(0)
        for column in range(left.shape[1]):
            gap: Any = _float(a[column]) - _float(b[column])  # type: ignore[call-arg]
            total += gap * gap
        distances[pair] = total
