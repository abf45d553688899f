"""Draw a value of each tile over a picture of the slide, with a legend."""

from textwrap import wrap
from typing import Final

import cv2
import numpy as np
from PIL import Image, ImageDraw

from histo_index.arrays import Float64
from histo_index.lettering import drawable, load_font
from histo_index.slides.reading.info import SlideInfo
from histo_index.slides.reading.reader import Pixels
from histo_index.slides.tiling.grid import Grid

_OPACITY: Final = 0.55
_LEGEND_PX: Final = 150
_LEGEND_LETTERS: Final = 17
_BAR_PX: Final = 24
_MARGIN_PX: Final = 16
_FONT_PX: Final = 14
_INK: Final = "#202020"


def draw_heatmap(
    picture: Pixels,
    info: SlideInfo,
    grid: Grid,
    values: Float64,
    *,
    title: str,
    limits: tuple[float, float] | None = None,
) -> Image.Image:
    """Draw values over a slide; yellow is the highest, dark blue the lowest.

    Where tiles overlap, the mean of their values is drawn.

    Args:
        picture: uint8 RGB [H, W, 3], an overview of the bounds of the slide.
        info: the slide.
        grid: T tiles.
        values: float64 [T].
        title: what the values are, for the legend.
        limits: values of the lowest and highest colour; None for those of the values.

    Returns:
        An RGB image: the slide, and the legend on its right.
    """
    means, is_covered = _paint(picture.shape[:2], info, grid, values)
    low, high = limits or (float(values.min()), float(values.max()))
    levels = np.clip((means - low) / max(high - low, 1e-12), 0, 1)
    colours = _colour(levels)
    # Colours of the stain below would change those of the map.
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[:, :, None]
    mixed = (1 - _OPACITY) * grey + _OPACITY * colours
    shown = np.where(is_covered[:, :, None], mixed, picture).astype(np.uint8)
    whole = Image.new("RGB", (shown.shape[1] + _LEGEND_PX, max(shown.shape[0], 160)), "white")
    whole.paste(Image.fromarray(shown), (0, 0))
    _draw_legend(whole, shown.shape[1], (low, high), title)
    return whole


def _paint(
    shape: tuple[int, ...], info: SlideInfo, grid: Grid, values: Float64
) -> tuple[Float64, "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]"]:
    """Return the mean value at each pixel, and which pixels a tile covers."""
    height, width = shape
    bounds = info.bounds
    across, down = width / bounds.width, height / bounds.height
    total, count = np.zeros(shape), np.zeros(shape)
    for x, y, value in zip(grid.x - bounds.x, grid.y - bounds.y, values, strict=True):
        left, right = round(x * across), round((x + grid.width) * across)
        top, bottom = round(y * down), round((y + grid.height) * down)
        area = slice(max(top, 0), max(bottom, top + 1)), slice(max(left, 0), max(right, left + 1))
        total[area] += value
        count[area] += 1
    return total / np.maximum(count, 1), count > 0


def _colour(levels: Float64) -> Pixels:
    """Colour levels from 0 to 1 by the map viridis, which the colour-blind read too."""
    grey = np.round(levels * 255).astype(np.uint8)
    coloured = cv2.applyColorMap(grey, cv2.COLORMAP_VIRIDIS)
    return np.asarray(coloured[..., ::-1], np.uint8)  # OpenCV has blue first


def _draw_legend(image: Image.Image, left: int, limits: tuple[float, float], title: str) -> None:
    draw, font = ImageDraw.Draw(image), load_font(_FONT_PX)
    left += _MARGIN_PX
    lines = wrap(drawable(title), _LEGEND_LETTERS)
    for number, line in enumerate(lines):
        draw.text((left, _MARGIN_PX + number * 18), line, fill=_INK, font=font)
    top = _MARGIN_PX + 18 * len(lines) + 8
    bottom = min(image.height - _MARGIN_PX, top + 240)
    ramp = np.linspace(1, 0, bottom - top)[:, None].repeat(_BAR_PX, axis=1)
    image.paste(Image.fromarray(_colour(ramp)), (left, top))
    for value, y in ((limits[1], top), (limits[0], bottom - _FONT_PX)):
        draw.text((left + _BAR_PX + 6, y), f"{value:.3g}", fill=_INK, font=font)
