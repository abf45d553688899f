"""Read a slide as a whole, at a coarse scale."""

import math
from typing import Final

import cv2
import numpy as np

from histo_index.slides.reading.info import Bounds
from histo_index.slides.reading.reader import Pixels, Slide
from histo_index.slides.reading.regions import choose_level

# Pixels of a level that are read at once.
_STRIP_PX: Final = 2**24


def read_overview(slide: Slide, mpp: float) -> Pixels:
    """Read the scanned part of a slide at a scale.

    Args:
        slide: an open slide with a known scale.
        mpp: microns per pixel of the picture.

    Returns:
        uint8 RGB [H, W, 3]; pixel [0, 0] is the upper left corner of the bounds.

    Raises:
        ImageError: a part cannot be decoded, or the scale is unknown.
    """
    scale, bounds = slide.info.require_scale(), slide.info.bounds
    width, height = picture_size(bounds, (scale.x, scale.y), mpp)
    number = choose_level(slide.info, mpp)
    downsample = slide.info.levels[number].downsample
    left, wide = round(bounds.x / downsample), max(round(bounds.width / downsample), 1)
    picture = np.empty((height, width, 3), np.uint8)
    # Strips of whole picture rows, each from as many level pixels as fit in memory.
    per_row = bounds.height / downsample / height
    rows = max(1, math.floor(_STRIP_PX / max(per_row, 1) / wide))
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        first = round(bounds.y / downsample + top * per_row)
        last = max(round(bounds.y / downsample + bottom * per_row), first + 1)
        strip = slide.read(number, left, first, (wide, last - first))
        size = (width, bottom - top)
        picture[top:bottom] = cv2.resize(strip, size, interpolation=cv2.INTER_AREA)
    return picture


def picture_size(bounds: Bounds, scale: tuple[float, float], mpp: float) -> tuple[int, int]:
    """Return width and height of an overview in pixels."""
    return (
        max(round(bounds.width * scale[0] / mpp), 1),
        max(round(bounds.height * scale[1] / mpp), 1),
    )
