"""Read squares of a slide at an exact scale.

The next finer level is read and resampled with antialiasing. Tiles that lie side by side are read
as one block; a tile has the same pixels however it is read.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image

from histo_index.errors import ImageError
from histo_index.slides.reading.identity import SlideTile
from histo_index.slides.reading.info import SlideInfo
from histo_index.slides.reading.reader import Pixels, Slide

# A level that is coarser than asked by less is read as it is: header and rounding differ by this.
LEVEL_TOLERANCE: Final = 0.01
# Pixels of a level that one tile may cover, and one block of tiles: larger ones leave the cache.
_LARGEST_REGION: Final = 2**26
_LARGEST_BLOCK: Final = 2**20
# A block may hold this many times the pixels of its tiles.
_SPARSEST: Final = 1.5
# Edges closer than this to a whole pixel lie on it.
_ROUNDING: Final = 1e-6


@dataclass(frozen=True, kw_only=True)
class _Window:
    """What a tile needs of a level: whole pixels, and the exact box within them."""

    level: int
    x: int
    y: int
    width: int
    height: int
    box: tuple[float, float, float, float]


def choose_level(info: SlideInfo, mpp: float) -> int:
    """Return the coarsest level that is at least as fine as asked.

    Raises:
        ImageError: the scale of the slide is unknown.
    """
    scale = info.require_scale().mean
    limit = mpp * (1 + LEVEL_TOLERANCE)
    fine = [n for n, level in enumerate(info.levels) if scale * level.downsample <= limit]
    return max(fine, key=lambda n: info.levels[n].downsample, default=0)


def level_mpp(info: SlideInfo, mpp: float) -> float:
    """Return microns per pixel of the level that is read for a scale."""
    return info.require_scale().mean * info.levels[choose_level(info, mpp)].downsample


def read_tiles(slide: Slide, tiles: Sequence[SlideTile]) -> list[Pixels | ImageError]:
    """Read tiles of one slide: uint8 RGB [size, size, 3] each, or why not."""
    found: list[Pixels | ImageError] = []
    windows: list[_Window | ImageError] = [_try_window(slide.info, tile) for tile in tiles]
    start = 0
    while start < len(tiles):
        stop = _block_end(windows, start)
        found += _read_block(slide, tiles[start:stop], windows[start:stop])
        start = stop
    return found


def _try_window(info: SlideInfo, tile: SlideTile) -> _Window | ImageError:
    try:
        return _window(info, tile)
    except ImageError as error:
        return error


def _window(info: SlideInfo, tile: SlideTile) -> _Window:
    scale = info.require_scale()
    number = choose_level(info, tile.mpp)
    level = info.levels[number]
    # Level pixels per tile pixel, along each axis.
    steps = tile.mpp / (scale.x * level.downsample), tile.mpp / (scale.y * level.downsample)
    left, top = tile.x / level.downsample, tile.y / level.downsample
    box = (left, top, left + tile.size * steps[0], top + tile.size * steps[1])
    # Nothing beyond the box: tiles of a slide that are next to each other would double the reading.
    x, y = math.floor(left + _ROUNDING), math.floor(top + _ROUNDING)
    right, bottom = math.ceil(box[2] - _ROUNDING), math.ceil(box[3] - _ROUNDING)
    if right <= 0 or bottom <= 0 or x >= level.width or y >= level.height:
        raise ImageError(
            f"{tile}: outside the slide, which has {info.width}×{info.height} pixels; x and y are "
            "its level-0 pixels"
        )
    if (right - x) * (bottom - y) > _LARGEST_REGION:
        raise ImageError(
            f"{tile}: too large: {right - x}×{bottom - y} pixels of the slide, the limit is "
            f"{_LARGEST_REGION:,}; pass a smaller tile or mpp"
        )
    return _Window(
        level=number, x=x, y=y, width=right - x, height=bottom - y,
        box=_inside((box[0] - x, box[1] - y, box[2] - x, box[3] - y), (right - x, bottom - y)),
    )  # fmt: skip


def _inside(
    box: tuple[float, float, float, float], size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """Keep a box inside a window; it may lie outside by rounding."""
    left, top, right, bottom = box
    return max(left, 0.0), max(top, 0.0), min(right, float(size[0])), min(bottom, float(size[1]))


def _block_end(windows: Sequence[_Window | ImageError], start: int) -> int:
    """Return the end of the longest run of windows that are worth reading at once."""
    first = windows[start]
    stop = start + 1
    if isinstance(first, ImageError):
        return stop
    left, top = first.x, first.y
    right, bottom, needed = left + first.width, top + first.height, first.width * first.height
    while stop < len(windows):
        window = windows[stop]
        if isinstance(window, ImageError) or window.level != first.level:
            break
        left, top = min(left, window.x), min(top, window.y)
        right, bottom = max(right, window.x + window.width), max(bottom, window.y + window.height)
        needed += window.width * window.height
        if (right - left) * (bottom - top) > min(_SPARSEST * needed, _LARGEST_BLOCK):
            break
        stop += 1
    return stop


def _read_block(
    slide: Slide, tiles: Sequence[SlideTile], windows: Sequence[_Window | ImageError]
) -> list[Pixels | ImageError]:
    known = [window for window in windows if isinstance(window, _Window)]
    if not known:
        return [window for window in windows if isinstance(window, ImageError)]
    x, y = min(window.x for window in known), min(window.y for window in known)
    right = max(window.x + window.width for window in known)
    bottom = max(window.y + window.height for window in known)
    try:
        block = slide.read(known[0].level, x, y, (right - x, bottom - y))
    except ImageError as error:
        if len(tiles) == 1:
            return [error]
        # The fault may lie in one of them.
        pairs = zip(tiles, windows, strict=True)
        return [_read_block(slide, [tile], [window])[0] for tile, window in pairs]
    found: list[Pixels | ImageError] = []
    for tile, window in zip(tiles, known, strict=True):
        top, left = window.y - y, window.x - x
        part = block[top : top + window.height, left : left + window.width]
        found.append(_resample(part, window.box, tile.size))
    return found


def _resample(pixels: Pixels, box: tuple[float, float, float, float], size: int) -> Pixels:
    """Resample a box to a square; antialiased, as `fit_tile` does."""
    left, top, right, bottom = box
    whole = (round(left), round(top), round(right), round(bottom))
    is_whole = np.allclose(box, whole, rtol=0, atol=1e-6)
    if is_whole and whole[2] - whole[0] == size == whole[3] - whole[1]:
        return np.ascontiguousarray(pixels[whole[1] : whole[3], whole[0] : whole[2]])
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=box))
