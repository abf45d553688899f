"""Read arrays as NumPy writes them: a header and rows, in order, never a pickle."""

import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Any, Final

import numpy as np

from histo_index.features.containers.part import Numbers, rows_per_block

FAULTS: Final = (OSError, ValueError, zipfile.BadZipFile, zlib.error, KeyError, EOFError,
                 NotImplementedError, RuntimeError, MemoryError)  # fmt: skip
_MOST_HEADER: Final = 10_000


def read_header(file: IO[bytes]) -> tuple[tuple[int, ...], Any]:
    """Read the header of an array: shape and type; no pickle is ever read."""
    version = np.lib.format.read_magic(file)
    read = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, is_fortran, dtype = read(file, max_header_size=_MOST_HEADER)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are not read")
    if is_fortran and len(shape) > 1:
        raise ValueError("it is in Fortran order; save np.ascontiguousarray of it")
    return shape, dtype


def stream_rows(file: IO[bytes], rows: int, size: int, dtype: Any) -> Iterator[Numbers]:
    """Read rows of a matrix from a file that stands behind the header, block by block.

    Raises:
        ValueError: the file is cut off.
    """
    step = rows_per_block(size, dtype.itemsize)
    for start in range(0, rows, step):
        count = min(step, rows - start)
        data = file.read(count * size * dtype.itemsize)
        if len(data) != count * size * dtype.itemsize:
            raise ValueError(f"cut off after row {start:,}")
        yield np.frombuffer(data, dtype).reshape(count, size)
