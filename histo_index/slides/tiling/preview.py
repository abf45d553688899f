"""Draw an overview of a slide with the outline of its tissue and its tiles."""

from typing import Final

import cv2
import numpy as np

from histo_index.slides.reading.info import SlideInfo
from histo_index.slides.reading.reader import Pixels
from histo_index.slides.tiling.cut import TiledSlide
from histo_index.slides.tiling.grid import Grid
from histo_index.slides.tissue.outlines import outline

_TISSUE: Final = (0, 128, 0)
_PEN: Final = (255, 128, 0)
_TILE: Final = (40, 60, 200)
_WIDTH: Final = 2


def draw_preview(tiled: TiledSlide) -> Pixels:
    """Draw tiles in blue, tissue in green and pen in orange: uint8 RGB [H, W, 3]."""
    assert tiled.picture is not None
    picture = draw_boxes(tiled.picture, tiled.info, tiled.grid)
    height, width = picture.shape[:2]
    factor = np.array([width, height]) / tiled.mask.tissue.shape[::-1]
    for mask, colour in ((tiled.mask.tissue, _TISSUE), (tiled.mask.pen, _PEN)):
        for polygon in outline(mask):
            points = [np.round(ring * factor).astype(np.int32) for ring in polygon]
            cv2.polylines(picture, points, isClosed=True, color=colour, thickness=_WIDTH)
    return picture


def draw_boxes(picture: Pixels, info: SlideInfo, grid: Grid) -> Pixels:
    """Draw tiles in blue over a copy of a picture of the bounds: uint8 RGB [H, W, 3]."""
    drawn = picture.copy()
    height, width = drawn.shape[:2]
    bounds = info.bounds
    across, down = width / bounds.width, height / bounds.height
    for x, y in zip(grid.x - bounds.x, grid.y - bounds.y, strict=True):
        corner = round(x * across), round(y * down)
        far = round((x + grid.width) * across), round((y + grid.height) * down)
        cv2.rectangle(drawn, corner, far, _TILE, 1)
    return drawn
