"""Read TIFF files that OpenSlide refuses, such as striped ones. The only module with tifffile."""

import logging
import struct
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import tifffile

from histo_index.errors import ImageError
from histo_index.slides.reading.info import Bounds, SlideInfo, SlideLevel, choose_scale
from histo_index.slides.reading.reader import Pixels, Slide, SlideFile, explain_fault

# Microns per unit of TIFF's ResolutionUnit: 2 is inch, 3 is centimetre.
_UNITS: Final = {2: 25_400.0, 3: 10_000.0}
# A strip or tile of more pixels is decoded whole, so it must fit in memory.
_LARGEST_SEGMENT: Final = 2**28
_SEGMENTS_KEPT: Final = 64
# Their messages are about the file, not about the code of tifffile.
_TELLING: Final = (tifffile.TiffFileError, OSError, MemoryError, zlib.error)
# What tifffile and its codecs raise on damaged files.
FAULTS: Final = (
    tifffile.TiffFileError, OSError, ValueError, TypeError, KeyError, IndexError, AttributeError,
    RuntimeError, OverflowError, ZeroDivisionError, MemoryError, struct.error, zlib.error,
)  # fmt: skip


# What it says of damaged files is in the error.
logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)


def open_by_tifffile(path: Path, file: SlideFile) -> Slide:
    """Open a TIFF.

    Raises:
        ImageError: it is damaged, or not 8-bit grey or RGB.
    """
    try:
        with ExitStack() as opened:
            found = _Tiff(opened.enter_context(open_tiff(path)), file)
            opened.pop_all()
            return found
    except FAULTS as error:
        raise explain_fault(file, _line(error)) from error


def open_tiff(path: Path) -> tifffile.TiffFile:
    """Open the pages of a TIFF; raises one of `FAULTS` if it is none."""
    return tifffile.TiffFile(path)


class _Tiff:
    """A TIFF with its levels."""

    def __init__(self, opened: tifffile.TiffFile, file: SlideFile) -> None:
        self._opened = opened
        series = opened.series[0]
        self._pages: list[Any] = [level.keyframe for level in series.levels]
        for page in self._pages:
            _require_usable(page, file)
        self.info = _describe(self._pages, file)
        self._segment = lru_cache(_SEGMENTS_KEPT)(self._decode)

    def read(self, level: int, x: int, y: int, size: tuple[int, int]) -> Pixels:
        page = self._pages[level]
        width, height = size
        pixels = np.full((height, width, 3), 255, np.uint8)
        try:
            for index in segments(page, x, y, size):
                self._paste(pixels, (x, y), level, index)
        except FAULTS as error:
            raise explain_fault(self.info.path, _line(error)) from error
        return pixels

    def close(self) -> None:
        self._opened.close()

    def _paste(self, pixels: Pixels, corner: tuple[int, int], level: int, index: int) -> None:
        """Copy the part of a segment that lies in the region."""
        segment, (top, left) = self._segment(level, index)
        rows = overlap(corner[1], pixels.shape[0], top, segment.shape[0])
        columns = overlap(corner[0], pixels.shape[1], left, segment.shape[1])
        if rows is not None and columns is not None:
            pixels[rows[0], columns[0]] = segment[rows[1], columns[1]]

    def _decode(self, level: int, index: int) -> tuple[Pixels, tuple[int, int]]:
        """Decode a strip or tile: its pixels, and its upper left corner (y, x)."""
        page = self._pages[level]
        handle = self._opened.filehandle
        handle.seek(page.dataoffsets[index])
        data = handle.read(page.databytecounts[index])
        tables = page.jpegtables
        found, place, shape = page.decode(data, index, jpegtables=tables)
        if found is None:  # a segment without data is white
            return np.full((*shape[1:3], 3), 255, np.uint8), (place[2], place[3])
        segment = found[0, : shape[1], : shape[2]]
        return _as_rgb(segment, page), (place[2], place[3])


def _require_usable(page: Any, file: SlideFile) -> None:
    kind = f"{page.dtype} with {page.samplesperpixel} channels"
    is_plain = page.dtype == np.uint8 and page.samplesperpixel in (1, 3, 4)
    if not is_plain or page.planarconfig != 1 or page.imagedepth != 1:
        raise ImageError(f"{file}: not a slide: {kind}; expected 8-bit RGB or grey")
    if page.is_tiled:
        area = page.tilewidth * page.tilelength
    else:
        area = page.imagewidth * min(page.rowsperstrip, page.imagelength)
    if not 0 < area <= _LARGEST_SEGMENT:
        raise ImageError(
            f"{file}: too large: {area:,} pixels in one piece, the limit is "
            f"{_LARGEST_SEGMENT:,}; save it in tiles"
        )


def _describe(pages: list[Any], file: SlideFile) -> SlideInfo:
    plane = pages[0]
    levels = tuple(
        SlideLevel(
            width=page.imagewidth,
            height=page.imagelength,
            downsample=(plane.imagewidth / page.imagewidth + plane.imagelength / page.imagelength)
            / 2,
        )
        for page in pages
    )
    unit = _UNITS.get(int(plane.resolutionunit or 0))
    per_unit = plane.resolution
    stored = tuple(unit / value if unit and value > 0 else None for value in per_unit)
    scale, problems = choose_scale((stored[0], stored[1]), file.mpp, "the file (TIFF resolution)")
    return SlideInfo(
        path=str(file),
        reader=f"tifffile {tifffile.__version__}",
        vendor="generic-tiff",
        levels=levels,
        scale=scale,
        bounds=Bounds(x=0, y=0, width=plane.imagewidth, height=plane.imagelength),
        associated=(),
        problems=tuple(problems),
    )


def segments(page: Any, x: int, y: int, size: tuple[int, int]) -> Iterator[int]:
    """Yield the numbers of the strips or tiles that a region touches."""
    wide = page.tilewidth if page.is_tiled else page.imagewidth
    high = page.tilelength if page.is_tiled else page.rowsperstrip
    across = -(-page.imagewidth // wide)
    right = min(x + size[0], page.imagewidth)
    bottom = min(y + size[1], page.imagelength)
    for row in range(max(y, 0) // high, -(-bottom // high)):
        for column in range(max(x, 0) // wide, -(-right // wide)):
            yield row * across + column


def overlap(start: int, length: int, other: int, other_length: int) -> tuple[slice, slice] | None:
    """Return where two stretches overlap, from the start of each; None if nowhere."""
    low, high = max(start, other), min(start + length, other + other_length)
    if low >= high:
        return None
    return slice(low - start, high - start), slice(low - other, high - other)


def _as_rgb(segment: Any, page: Any) -> Pixels:
    if segment.shape[2] == 1:
        grey = 255 - segment if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE else segment
        return np.repeat(grey, 3, axis=2)
    return np.ascontiguousarray(segment[:, :, :3])


def _line(error: BaseException) -> str:
    if not isinstance(error, _TELLING):
        return "its content makes no sense"
    return " ".join(str(error).split())[:160] or type(error).__name__
