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
# Rows far apart wait for memory. Four pairs measured side by side are eight rows under way at once,
# and the starts of the next four pairs' rows are asked for ahead; what follows a row's start the
# processor foresees itself. Found by trying 1 to 16 pairs, blocks of 32 to 512 numbers and 1 to 64
# lines ahead, against one pair after the other on one core: 1.3 to 1.4 times the pairs/s at 2048
# numbers, 2.2 at 384, and 2.1 at 2048 where the left rows are one query's.
_TOGETHER: Final = 4
# Numbers of a row that are measured before the next pair's turn, and as many are asked for ahead.
_BLOCK: Final = 256
# Bytes that memory brings at once; where they are 128, half of the asking is for nothing.
_LINE: Final = 64


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


@intrinsic
def _ask_for(_context: Any, address: Any) -> Any:
    """Have memory bring what lies at an address, and do not wait; a wrong address does no harm."""

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        prefetch = builder.module.declare_intrinsic("llvm.prefetch", [pointer], kind)
        # To read (0), into the second cache (2), data (1).
        hints = [ir.Constant(number, hint) for hint in (0, 2, 1)]
        builder.call(prefetch, [builder.inttoptr(arguments[0], pointer), *hints])
        return context.get_dummy_value()

    return numba.types.void(address), generate


_Matrix: Final = numba.types.Array(numba.types.uint16, 2, "C", readonly=True)
_Row: Final = numba.types.Array(numba.types.uint16, 1, "C", readonly=True)


@numba.njit(numba.void(_Row))
def _ask_for_start(row: Any) -> None:
    for byte in range(0, 2 * min(len(row), _BLOCK), _LINE):
        _ask_for(row.ctypes.data + byte)  # type: ignore[call-arg]


# Any order of addition is right; fixing one would forbid vector instructions.
@numba.njit(numba.float32(_Row, _Row), fastmath={"reassoc", "contract"})
def _squared_gap(a: Any, b: Any) -> Any:
    total = numba.float32(0)
    for column in range(len(a)):
        gap: Any = _float(a[column]) - _float(b[column])  # type: ignore[call-arg]
        total += gap * gap
    return total


@numba.njit(
    numba.void(_Matrix, _Matrix, numba.int64[:], numba.int64[:], numba.float32[:]), nogil=True
)
def _measure(left: Any, right: Any, left_rows: Any, right_rows: Any, distances: Any) -> None:
    distances[:] = 0
    for start in range(0, len(distances), _TOGETHER):
        stop = min(start + _TOGETHER, len(distances))
        for pair in range(stop, min(stop + _TOGETHER, len(distances))):
            _ask_for_start(left[left_rows[pair]])
            _ask_for_start(right[right_rows[pair]])
        for column in range(0, left.shape[1], _BLOCK):
            block = slice(column, column + _BLOCK)
            for pair in range(start, stop):
                a, b = left[left_rows[pair]][block], right[right_rows[pair]][block]
                distances[pair] += _squared_gap(a, b)
