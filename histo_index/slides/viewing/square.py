"""Read a square of the pyramid."""

import cv2
import numpy as np

from histo_index.errors import ImageError
from histo_index.slides.reading.reader import Pixels, Slide
from histo_index.slides.viewing.pyramid import SQUARE_PX, list_levels


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
