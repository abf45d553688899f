"""Cut a slide into the tiles that hold enough tissue."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from histo_index.arrays import Bools, Float64, Int64
from histo_index.errors import ImageError
from histo_index.slides.reading.identity import SlideTile
from histo_index.slides.reading.info import SlideInfo
from histo_index.slides.reading.reader import Pixels, Slide, SlideFile
from histo_index.slides.tiling.grid import Grid, coarseness, lay_grid
from histo_index.slides.tiling.options import TileOptions

if TYPE_CHECKING:
    from histo_index.slides.tissue.mask import TissueMask

_MASK_MPP: Final = 8.0
_PREVIEW_PX: Final = 1600
_TILES_AT_ONCE: Final = 64
_LARGEST_TILE_PX: Final = 4096**2


@dataclass(frozen=True, kw_only=True)
class SlideRequest:
    """A slide to cut.

    Attributes:
        file: the slide.
        mask: a picture of the whole plane, tissue bright; None to find the tissue.
        annotations: QuPath GeoJSON with classes; None without.
        is_cropped: annotations start from the bounds of the slide, as QuPath writes them.
        save: a folder for the pixels of the tiles; None to write none.
        preview: also read a picture to draw on.
        may_be_tile: a TIFF, which is left alone if it is as small as a tile and has no levels.
    """

    file: SlideFile
    mask: Path | None = None
    annotations: Path | None = None
    is_cropped: bool = True
    save: Path | None = None
    preview: bool = False
    may_be_tile: bool = False

    def __str__(self) -> str:
        return str(self.file)


@dataclass(frozen=True, kw_only=True)
class TiledSlide:
    """The tiles of a slide.

    Attributes:
        info: the slide.
        grid: where the tiles lie, T of them.
        tissue: float64 [T], share that is tissue.
        pen: float64 [T], share that is pen.
        sharpness: float64 [T], variance of the Laplacian; None if not measured.
        labels: class that covers most of each tile, or None; None without annotations.
        read_mpp: microns per pixel of the level that is read.
        mask: what is tissue; None if everything counts.
        picture: uint8 RGB [H, W, 3], an overview of the bounds; None if not asked for.
        problems: one line each.
    """

    info: SlideInfo
    grid: Grid
    tissue: Float64
    pen: Float64
    sharpness: Float64 | None
    labels: tuple[str | None, ...] | None
    read_mpp: float
    mask: "TissueMask"
    picture: Pixels | None
    problems: tuple[str, ...]


def is_tile_sized(info: SlideInfo) -> bool:
    """Return whether a picture is a tile rather than a slide: small, without further levels."""
    return len(info.levels) == 1 and info.width * info.height <= _LARGEST_TILE_PX


def tile_slide(slide: Slide, request: SlideRequest, options: TileOptions) -> TiledSlide:
    """Find the tiles of a slide that hold enough tissue.

    Raises:
        ImageError: the slide cannot be cut; see `lay_grid`.
    """
    from histo_index.slides.reading.regions import level_mpp
    from histo_index.slides.tiling.annotations import label_tiles

    info = slide.info
    grid = lay_grid(info, options)
    mask = _find_mask(slide, request, options)
    tissue, pen = _shares(mask.tissue, mask, grid, info), _shares(mask.pen, mask, grid, info)
    rows = np.flatnonzero(tissue >= options.min_tissue)
    grid = grid.select(rows)
    tiled = TiledSlide(
        info=info,
        grid=grid,
        tissue=tissue[rows],
        pen=pen[rows],
        sharpness=None,
        labels=None
        if request.annotations is None
        else label_tiles(request.annotations, info, grid, crop=request.is_cropped),
        read_mpp=level_mpp(info, options.mpp),
        mask=mask,
        picture=read_preview(slide) if request.preview else None,
        problems=(*info.problems, *coarseness(info, options), *mask.problems, *_none_left(rows)),
    )
    return _measure_pixels(slide, tiled, request, options)


def _none_left(rows: Int64) -> tuple[str, ...]:
    return () if len(rows) else ("no tile holds enough tissue: pass a smaller --min-tissue",)


def _find_mask(slide: Slide, request: SlideRequest, options: TileOptions) -> "TissueMask":
    from histo_index.slides.reading.overview import read_overview
    from histo_index.slides.tissue.given import read_mask
    from histo_index.slides.tissue.mask import find_tissue

    # Never finer than the slide.
    mpp = max(_MASK_MPP, slide.info.require_scale().mean)
    if request.mask is not None:
        return read_mask(request.mask, slide.info, mpp)
    return find_tissue(read_overview(slide, mpp), mpp, method=options.tissue)


def _shares(
    part: Bools,
    mask: "TissueMask",
    grid: Grid,
    info: SlideInfo,
) -> Float64:
    """Measure what share of each tile a part of the mask covers: float64 [T]."""
    from histo_index.slides.tissue.outlines import shares

    scale, bounds = info.require_scale(), info.bounds
    return shares(
        part,
        np.asarray((grid.x - bounds.x) * scale.x / mask.mpp, np.float64),
        np.asarray((grid.y - bounds.y) * scale.y / mask.mpp, np.float64),
        grid.width * scale.x / mask.mpp,
    )


def read_preview(slide: Slide) -> Pixels:
    """Read a small picture of the bounds of a slide: uint8 RGB [H, W, 3]."""
    from histo_index.slides.reading.overview import read_overview

    scale, bounds = slide.info.require_scale(), slide.info.bounds
    longest_um = max(bounds.width * scale.x, bounds.height * scale.y)
    return read_overview(slide, max(longest_um / _PREVIEW_PX, scale.mean))


def _measure_pixels(
    slide: Slide, tiled: TiledSlide, request: SlideRequest, options: TileOptions
) -> TiledSlide:
    """Read the tiles to measure their sharpness and to save them, where asked for."""
    from histo_index.slides.reading.regions import read_tiles
    from histo_index.slides.tiling.saving import save_tile
    from histo_index.slides.tissue.sharpness import measure_sharpness

    if not options.sharpness and request.save is None:
        return tiled
    tiles = list_tiles(tiled, options, slide=str(request.file), slide_mpp=request.file.mpp)
    found: list[float] = []
    for start in range(0, len(tiles), _TILES_AT_ONCE):
        some = tiles[start : start + _TILES_AT_ONCE]
        for tile, pixels in zip(some, read_tiles(slide, some), strict=True):
            if isinstance(pixels, ImageError):
                found.append(float("nan"))
                continue
            found.append(measure_sharpness(pixels))
            if request.save is not None:
                save_tile(pixels, tile, request.save)
    return replace(tiled, sharpness=np.array(found, np.float64) if options.sharpness else None)


def list_tiles(
    tiled: TiledSlide, options: TileOptions, *, slide: str, slide_mpp: float | None
) -> list[SlideTile]:
    """List the tiles of a slide under a name of the slide."""
    places = zip(tiled.grid.x.tolist(), tiled.grid.y.tolist(), strict=True)
    return [
        SlideTile(
            slide=slide, x=x, y=y, mpp=options.mpp, size=options.tile_size, slide_mpp=slide_mpp
        )
        for x, y in places
    ]
