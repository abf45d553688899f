"""Decode the JPEG tiles of a TIFF that OpenSlide opened, where both give the same pixels.

OpenSlide draws each tile with floating-point numbers, which takes four times as long as to decode
it. Before a level is read here, its largest tile is compared with what OpenSlide returns. This is
the only module with imagecodecs.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Final

import imagecodecs
import numpy as np

from histo_index.slides.reading.info import SlideLevel
from histo_index.slides.reading.reader import Pixels
from histo_index.slides.reading.tiff_reader import FAULTS, open_tiff, overlap, segments

# How OpenSlide reads a region of a level: level, x, y, size.
Draw = Callable[[int, int, int, tuple[int, int]], Pixels]

_JPEG: Final = 7
# How the numbers in a JPEG tile are to be understood, by TIFF's PhotometricInterpretation.
_COLOURS: Final = {2: "RGB", 6: "YCBCR"}
_LARGEST_TILE: Final = 2**22
_MOST_PAGES: Final = 64
_BYTES_KEPT: Final = 2**24


class JpegLevels:
    """The levels of a slide that are read tile by tile."""

    def __init__(self, path: Path, levels: tuple[SlideLevel, ...], draw: Draw) -> None:
        """Open the file once more.

        Args:
            path: the slide.
            levels: as OpenSlide describes them.
            draw: how OpenSlide reads a region.
        """
        self._levels, self._draw = levels, draw
        self._file: Any = None
        self._pages: dict[int, Any] = {}
        with suppress(*FAULTS):
            self._file = open_tiff(path)
            self._pages = self._find_pages()
        largest = max((3 * p.tilewidth * p.tilelength for p in self._pages.values()), default=1)
        self._tile = lru_cache(max(8, _BYTES_KEPT // largest))(self._decode)
        self._is_same = lru_cache(None)(self._compare)

    def read(self, level: int, x: int, y: int, size: tuple[int, int]) -> Pixels | None:
        """Read a region: uint8 RGB [H, W, 3]; None where OpenSlide has to read it."""
        is_known = level in self._pages and self._is_whole(level, x, y, size)
        return self._paste(level, x, y, size) if is_known and self._is_same(level) else None

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _find_pages(self) -> dict[int, Any]:
        """Find the page of each level whose tiles can be decoded here."""
        sizes = {(level.width, level.height): n for n, level in enumerate(self._levels)}
        found: dict[int, Any] = {}
        for page in islice(self._file.pages, _MOST_PAGES):
            # Later pages of the same size are none of the levels.
            number = sizes.pop((page.imagewidth, page.imagelength), None)
            if number is not None and _is_plain(page):
                found[number] = page
        return found

    def _is_whole(self, level: int, x: int, y: int, size: tuple[int, int]) -> bool:
        """Return whether a region lies in the level, where OpenSlide does not shift it."""
        plane = self._levels[level]
        places = x * plane.downsample, y * plane.downsample
        is_inside = x >= 0 and y >= 0 and x + size[0] <= plane.width and y + size[1] <= plane.height
        return is_inside and all(place.is_integer() for place in places)

    def _compare(self, level: int) -> bool:
        """Return whether the largest tile has the pixels that OpenSlide reads."""
        page = self._pages[level]
        across = -(-page.imagewidth // page.tilewidth)
        row, column = divmod(int(np.argmax(page.databytecounts)), across)
        x, y = column * page.tilewidth, row * page.tilelength
        size = min(page.tilewidth, page.imagewidth - x), min(page.tilelength, page.imagelength - y)
        if not self._is_whole(level, x, y, size):
            return False
        found = self._paste(level, x, y, size)
        return found is not None and np.array_equal(found, self._draw(level, x, y, size))

    def _paste(self, level: int, x: int, y: int, size: tuple[int, int]) -> Pixels | None:
        page = self._pages[level]
        across = -(-page.imagewidth // page.tilewidth)
        pixels = np.empty((size[1], size[0], 3), np.uint8)
        for number in segments(page, x, y, size):
            try:
                tile = self._tile(level, number)
            except FAULTS:
                return None
            top, left = number // across * page.tilelength, number % across * page.tilewidth
            rows, columns = (
                overlap(y, size[1], top, len(tile)),
                overlap(x, size[0], left, tile.shape[1]),
            )
            if rows is not None and columns is not None:
                pixels[rows[0], columns[0]] = tile[rows[1], columns[1]]
        return pixels

    def _decode(self, level: int, number: int) -> Pixels:
        page, handle = self._pages[level], self._file.filehandle
        handle.seek(page.dataoffsets[number])
        data = handle.read(page.databytecounts[number])
        # A tile that says it has another size is refused.
        found = np.empty((page.tilelength, page.tilewidth, 3), np.uint8)
        imagecodecs.jpeg8_decode(
            data, tables=page.jpegtables, colorspace=_COLOURS[page.photometric],
            outcolorspace="RGB", out=found,
        )  # fmt: skip
        return found


def _is_plain(page: Any) -> bool:
    """Return whether a page holds 8-bit RGB in JPEG tiles, none of them without data."""
    return bool(
        page.is_tiled
        and page.compression == _JPEG
        and page.photometric in _COLOURS
        and (page.samplesperpixel, page.bitspersample, page.planarconfig) == (3, 8, 1)
        and page.tilewidth * page.tilelength <= _LARGEST_TILE
        # OpenSlide draws what another level has where a tile has no data.
        and all(page.databytecounts)
    )
