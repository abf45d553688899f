"""Lay a grid of tiles over a slide."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from histo_index.arrays import Int64
from histo_index.errors import ImageError
from histo_index.slides.reading.info import SlideInfo
from histo_index.slides.reading.regions import choose_level
from histo_index.slides.tiling.options import TileOptions

# A slide may be coarser than the tiles by this factor; more is an error.
COARSER_WARNED: Final = 1.05
COARSER_REFUSED: Final = 1.5
_MOST_TILES: Final = 20_000_000
_WHOLE: Final = 1e-3


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Where tiles lie, row by row.

    Attributes:
        x: int64 [T], left edges in level-0 pixels of the whole plane.
        y: int64 [T], upper edges.
        width: of a tile in level-0 pixels, maybe not whole.
        height: of a tile in level-0 pixels.
    """

    x: Int64
    y: Int64
    width: float
    height: float

    def select(self, rows: Int64) -> "Grid":
        """Return some of the tiles."""
        return Grid(x=self.x[rows], y=self.y[rows], width=self.width, height=self.height)


def lay_grid(info: SlideInfo, options: TileOptions) -> Grid:
    """Lay a grid over the scanned part of a slide; tiles lie inside it.

    Raises:
        ImageError: the scale is unknown or much coarser than asked, or not one tile fits.
    """
    scale, bounds = info.require_scale(), info.bounds
    if not scale.mean <= COARSER_REFUSED * options.mpp:
        raise ImageError(
            f"{info.path}: too coarse: {scale.mean:.4g} µm/px, asked for {options.mpp:g}; pass "
            f"--mpp {scale.mean:.3g} or more"
        )
    side_um = options.tile_size * options.mpp
    width, height = side_um / scale.x, side_um / scale.y
    downsample = info.levels[choose_level(info, options.mpp)].downsample
    # On whole pixels of the level that is read, nothing is resampled where scales agree.
    unit = round(downsample) if abs(downsample - round(downsample)) < _WHOLE * downsample else 1
    columns = _edges(bounds.width, width, options.overlap, unit)
    rows = _edges(bounds.height, height, options.overlap, unit)
    if not len(columns) * len(rows):
        raise ImageError(
            f"{info.path}: too small: {bounds.width}×{bounds.height} pixels, a tile needs "
            f"{math.ceil(width)}×{math.ceil(height)}; pass a smaller --tile-size or --mpp"
        )
    if len(columns) * len(rows) > _MOST_TILES:
        raise ImageError(
            f"{info.path}: too many tiles: {len(columns) * len(rows):,}, the limit is "
            f"{_MOST_TILES:,}; pass a larger --tile-size or --mpp, or less --overlap"
        )
    x, y = np.meshgrid(columns + bounds.x, rows + bounds.y)
    return Grid(x=x.ravel(), y=y.ravel(), width=width, height=height)


def coarseness(info: SlideInfo, options: TileOptions) -> list[str]:
    """Return a warning if the slide is coarser than the tiles."""
    scale = info.require_scale().mean
    if scale <= COARSER_WARNED * options.mpp:
        return []
    return [f"{scale:.4g} µm/px is coarser than {options.mpp:g}: its tiles are enlarged"]


def _edges(length: int, side: float, overlap: float, unit: int) -> Int64:
    """Return the first pixels of tiles along an axis."""
    step = side * (1 - overlap)
    count = math.floor((length - side) / step + 1e-9) + 1 if length >= side else 0
    return np.asarray(np.floor(np.arange(count) * step / unit + 0.5) * unit, np.int64)
