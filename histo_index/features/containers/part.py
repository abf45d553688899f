"""What a file of features holds: one or several parts, each a matrix or the places of its rows."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from histo_index.arrays import Int64
from histo_index.errors import InputError
from histo_index.wording import printable

# What a block of rows takes in memory.
_BLOCK_BYTES: Final = 2**23
# A chunk is unpacked as a whole.
MOST_CHUNK_BYTES: Final = 2**28
# Features hardly compress; what unpacks to far more than its file is a bomb, or empty.
_FREE_BYTES: Final = 2**26
_BYTES_PER_BYTE: Final = 100
# UNI 2 has 1,536 numbers, Virchow 2 2,560; more than this is no embedding of a tile.
_MOST_NUMBERS: Final = 65_536

Numbers = npt.NDArray[Any]
Blocks = Iterator[tuple[Numbers, pa.Table | None]]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a part before its rows are read.

    Attributes:
        path: the file, or the folder of a Zarr store.
        part: the matrix inside it; empty where there is only one.
        tool: what wrote it, as far as the layout says.
        slide: the slide's name without its suffix; None where rows bring their own image ids.
        encoder: what the file calls the encoder; None if it does not say.
        rows: N.
        size: D; 0 for places alone.
        has_places: it holds the place of each row.
        size_px: side of a tile in pixels; None if unknown.
        span_px: side of a tile in level-0 pixels; None if unknown.
        mpp: microns per pixel of the tiles; None if unknown.
        columns: name to type of what rows bring along: `string`, `int64`, `double` or `bool`.
    """

    path: str
    part: str = ""
    tool: str
    slide: str | None
    encoder: str | None = None
    rows: int
    size: int
    has_places: bool = False
    size_px: int | None = None
    span_px: float | None = None
    mpp: float | None = None
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part that can be read.

    Attributes:
        facts: what is known of it.
        blocks: reads the rows in order: numbers [n, D], and what they bring along: `image_id` and
            other columns. None for places alone.
        places: reads the level-0 pixel of the upper left corner of each tile: int64 [N, 2].
    """

    facts: Facts
    blocks: Callable[[], Blocks] | None = None
    places: Callable[[], Int64] | None = None


def rows_per_block(size: int, itemsize: int, chunk_rows: int = 1) -> int:
    """Choose how many rows are read at once, a multiple of the rows of a chunk."""
    rows = max(_BLOCK_BYTES // (size * itemsize), 1)
    return -(-rows // chunk_rows) * chunk_rows


def require_matrix(shape: tuple[int, ...], dtype: Any, name: str) -> tuple[int, int]:
    """Check that an array is N×D or 1×N×D numbers, and return N and D.

    Raises:
        InputError: it is not.
    """
    kind = np.dtype(dtype).kind
    if kind not in "fiu":
        raise InputError(f"{name}: holds {printable(dtype)[:60]}; expected numbers")
    if len(shape) == 1:
        raise InputError(
            f"{name}: one vector of {shape[0]:,} for a whole slide; pass tile features"
        )
    if len(shape) == 3 and shape[0] == 1:
        shape = shape[1:]
    if len(shape) != 2 or not 0 < shape[1] <= _MOST_NUMBERS:
        raise InputError(f"{name}: an array of {list(shape)}; expected tiles × numbers")
    return int(shape[0]), int(shape[1])


def require_no_bomb(name: str, *, claimed: int, stored: int) -> None:
    """Refuse an array that says it is far larger than its bytes.

    Raises:
        InputError: it does.
    """
    if claimed > _FREE_BYTES + _BYTES_PER_BYTE * stored:
        raise InputError(
            f"{name}: says that its {stored:,} bytes hold {claimed:,}; the file is damaged, "
            "hostile or not yet filled"
        )


def require_chunk(name: str, chunk_bytes: int) -> None:
    """Refuse an array whose chunks are too large to be unpacked.

    Raises:
        InputError: they are.
    """
    if chunk_bytes > MOST_CHUNK_BYTES:
        raise InputError(
            f"{name}: chunks of {chunk_bytes:,} bytes, the limit is {MOST_CHUNK_BYTES:,}; "
            "write it again with smaller chunks"
        )


def to_places(values: Numbers, name: str) -> Int64:
    """Read places from an array of N×2 or more columns; the first two are x and y.

    Raises:
        InputError: it is none, or a value is no pixel.
    """
    if values.ndim == 3 and values.shape[0] == 1:
        values = values[0]
    if values.ndim != 2 or values.shape[1] < 2 or values.dtype.kind not in "fiu":
        raise InputError(
            f"{name}: {values.dtype} {list(values.shape)}; expected the place of each tile, N×2"
        )
    xy = values[:, :2].astype(np.float64)
    if not (np.abs(xy) < 1e9).all():
        raise InputError(f"{name}: places that are no pixels; expected level-0 pixels")
    return np.round(xy).astype(np.int64)


def slide_name(path: Path) -> str:
    """Return the name of the slide that a file belongs to, without suffixes."""
    name = path.name
    for suffix in (".coordinates.npz", path.suffix):
        if suffix and name.endswith(suffix):
            name = name.removesuffix(suffix)
            break
    return name.removesuffix("_patches")


def one_line(error: BaseException) -> str:
    """Return the message of a foreign error as one line of at most 200 characters."""
    if isinstance(error, MemoryError):
        return "it asks for more memory than a file of its size can need"
    return printable(" ".join(str(error).split()))[:200] or type(error).__name__
