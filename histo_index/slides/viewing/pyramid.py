"""The pyramid that a viewer shows: each level halves the one before and is cut into squares.

Level 0 is that of the slide. A square is read from the coarsest level of the slide that is at least
as fine; where both have one scale, its pixels are those that the reader returns.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from histo_index.errors import ImageError
from histo_index.slides.reading.info import SlideInfo
from histo_index.slides.reading.reader import Pixels, Slide
from histo_index.slides.reading.regions import LEVEL_TOLERANCE

SQUARE_PX: Final = 512
# Pixels of a slide level that one square may be made from. A slide without coarse levels has a
# pyramid of few levels: its coarsest squares would read all of it.
_MOST_READ: Final = 2**24


@dataclass(frozen=True, kw_only=True)
class PyramidLevel:
    """A level of the pyramid.

    Attributes:
        downsample: level-0 pixels per pixel, a power of two.
        width: in pixels of the level.
        height: in pixels of the level.
        source: number of the slide level that is read.
    """

    downsample: int
    width: int
    height: int
    source: int

    @property
    def columns(self) -> int:
        """How many squares lie side by side."""
        return -(-self.width // SQUARE_PX)

    @property
    def rows(self) -> int:
        """How many squares lie below each other."""
        return -(-self.height // SQUARE_PX)


def list_levels(info: SlideInfo) -> list[PyramidLevel]:
    """List the levels of the pyramid, the finest first.

    The last one is a single square, or the coarsest that can be read at a bounded cost.
    """
    found: list[PyramidLevel] = []
    while not found or max(found[-1].width, found[-1].height) > SQUARE_PX:
        downsample = 2 ** len(found)
        source = _choose_source(info, downsample)
        side = SQUARE_PX * downsample / info.levels[source].downsample
        if found and side**2 > _MOST_READ * (1 + LEVEL_TOLERANCE):
            break
        found.append(
            PyramidLevel(
                downsample=downsample, width=-(-info.width // downsample),
                height=-(-info.height // downsample), source=source,
            )
        )  # fmt: skip
    return found


def read_square(slide: Slide, level: int, column: int, row: int) -> Pixels:
    """Read a square: uint8 RGB [H, W, 3], at most 512 by 512; those at the edges are smaller.

    Args:
        slide: an open slide.
        level: number of the pyramid level.
        column: of the square, from the left of the plane.
        row: of the square, from the top of the plane.

    Raises:
        ImageError: there is no such square, or it cannot be decoded.
    """
    levels = list_levels(slide.info)
    if not (
        0 <= level < len(levels)
        and 0 <= column < levels[level].columns
        and 0 <= row < levels[level].rows
    ):
        raise ImageError(f"{slide.info.path}: no square {column}, {row} at level {level}")
    one = levels[level]
    left, top = column * SQUARE_PX, row * SQUARE_PX
    size = min(SQUARE_PX, one.width - left), min(SQUARE_PX, one.height - top)
    source = slide.info.levels[one.source]
    factor = one.downsample / source.downsample
    x, y = round(left * factor), round(top * factor)
    # What is beyond the edge would brighten the last pixels.
    right = min(round((left + size[0]) * factor), source.width)
    bottom = min(round((top + size[1]) * factor), source.height)
    pixels = slide.read(one.source, x, y, (max(right - x, 1), max(bottom - y, 1)))
    if pixels.shape[:2] == size[::-1]:
        return pixels
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def _choose_source(info: SlideInfo, downsample: int) -> int:
    """Return the coarsest slide level that is at least as fine as a downsample."""
    limit = downsample * (1 + LEVEL_TOLERANCE)
    fine = [n for n, level in enumerate(info.levels) if level.downsample <= limit]
    return max(fine, key=lambda n: info.levels[n].downsample, default=0)
