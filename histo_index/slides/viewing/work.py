"""Show slides; this runs in decoder processes, where a crash costs one answer."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image

from histo_index.arrays import Float64
from histo_index.errors import ImageError
from histo_index.slides.reading.identity import SlideTile
from histo_index.slides.reading.info import SlideInfo
from histo_index.slides.reading.kept import open_kept
from histo_index.slides.reading.reader import Pixels, Slide, SlideFile
from histo_index.slides.tiling.grid import Grid

_QUALITY: Final = 88
# Pixels of a slide level that an overview may be made from: 20 s on a slow core.
_MOST_READ: Final = 2**27


@dataclass(frozen=True, kw_only=True)
class Square:
    """Asks for a square of the pyramid; see `read_square`."""

    level: int
    column: int
    row: int
    is_png: bool = False


@dataclass(frozen=True, kw_only=True)
class Overview:
    """Asks for a picture of the scanned part, at most `side_px` pixels a side.

    Attributes:
        side_px: its longest side.
        grid: tiles to draw over it; None for none.
        values: float64 [T], a value of each tile for its colour; None to draw outlines.
        title: what the values are.
        limits: values of the lowest and highest colour; None for those of the values.
    """

    side_px: int
    grid: Grid | None = None
    values: Float64 | None = None
    title: str = ""
    limits: tuple[float, float] | None = None


class Facts:
    """Asks what is known of a slide."""


@dataclass(frozen=True, kw_only=True)
class SlideView:
    """Something asked of a slide."""

    file: SlideFile
    what: Facts | Square | Overview

    def __str__(self) -> str:
        # Named as a tile, so that a pool gives up a slide that ends its decoders.
        return str(SlideTile(slide=str(self.file), x=0, y=0, mpp=1, size=1))


@dataclass(frozen=True, kw_only=True)
class ViewWork:
    """Describes slides and makes JPEG or PNG files of them, for a `DecodePool`."""

    def answers(self, requests: Sequence[SlideView]) -> Iterator[SlideInfo | bytes | ImageError]:
        """Answer each request, in order."""
        for request in requests:
            try:
                yield _answer(open_kept(request.file), request.what)
            except ImageError as error:
                yield error


def _answer(slide: Slide, what: Facts | Square | Overview) -> SlideInfo | bytes:
    from histo_index.slides.viewing.square import read_square

    if isinstance(what, Facts):
        return slide.info
    if isinstance(what, Square):
        pixels = read_square(slide, what.level, what.column, what.row)
        return _encode(Image.fromarray(pixels), is_png=what.is_png)
    return _encode(_draw(slide, what), is_png=False)


def _draw(slide: Slide, asked: Overview) -> Image.Image:
    from histo_index.slides.overlay.draw import draw_heatmap
    from histo_index.slides.tiling.preview import draw_boxes

    picture = _read_overview(slide, asked.side_px)
    if asked.grid is None:
        return Image.fromarray(picture)
    if asked.values is None:
        return Image.fromarray(draw_boxes(picture, slide.info, asked.grid))
    return draw_heatmap(
        picture, slide.info, asked.grid, asked.values, title=asked.title, limits=asked.limits
    )


def _read_overview(slide: Slide, side_px: int) -> Pixels:
    from histo_index.slides.reading.overview import read_overview
    from histo_index.slides.reading.regions import choose_level

    info = slide.info
    scale, bounds = info.require_scale(), info.bounds
    longest_um = max(bounds.width * scale.x, bounds.height * scale.y)
    mpp = max(longest_um / side_px, scale.mean)
    downsample = info.levels[choose_level(info, mpp)].downsample
    if bounds.width * bounds.height / downsample**2 > _MOST_READ:
        raise ImageError(f"{info.path}: too large for an overview: it has no coarse level")
    return np.asarray(read_overview(slide, mpp), np.uint8)


def _encode(image: Image.Image, *, is_png: bool) -> bytes:
    written = io.BytesIO()
    if is_png:
        image.save(written, format="PNG", compress_level=1)
    else:
        image.save(written, format="JPEG", quality=_QUALITY)
    return written.getvalue()
