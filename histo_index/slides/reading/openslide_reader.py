"""Read slides with OpenSlide. The only module that imports it."""

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
import openslide

from histo_index.errors import ImageError
from histo_index.slides.reading.info import Bounds, SlideInfo, SlideLevel, choose_scale
from histo_index.slides.reading.reader import Pixels, Slide, SlideFile, explain_fault

if TYPE_CHECKING:
    from histo_index.slides.reading.jpeg_levels import JpegLevels

# Larger planes are damage: OpenSlide counts in int64, pictures in int32.
_LONGEST_PX: Final = 2**30
_OPAQUE: Final = 255
# After so many pixels it pays to load what decodes tiles, which takes 0.2 s: 128 tiles of 256 px.
_DRAWN_PX: Final = 2**23
# Vendors whose levels are plain pages of tiles.
_PLAIN: Final = ("generic-tiff", "aperio")


def reader_name() -> str:
    """Return the name and version of the library: `OpenSlide 4.0.1 (openslide-bin 4.0.1.2)`."""
    name = f"OpenSlide {openslide.__library_version__}"
    try:
        return f"{name} (openslide-bin {version('openslide-bin')})"
    except PackageNotFoundError:
        return name


def open_by_openslide(path: Path, file: SlideFile, *, drawn_px: int = _DRAWN_PX) -> Slide | None:
    """Open a slide; None if OpenSlide does not know its format.

    Args:
        path: the file to open.
        file: the slide.
        drawn_px: pixels that OpenSlide draws before tiles are decoded without it, where that
            gives the same pixels.

    Raises:
        ImageError: it knows the format and cannot read the file.
        OSError: there is no such file.
    """
    with open(path, "rb"):  # OpenSlide's own message does not say why
        pass
    try:
        return _OpenSlide(openslide.OpenSlide(path), file, path, drawn_px)
    except openslide.OpenSlideUnsupportedFormatError:
        return None
    except openslide.OpenSlideError as error:
        raise explain_fault(file, _line(error)) from error


class _OpenSlide:
    """A slide opened by OpenSlide."""

    def __init__(
        self, opened: openslide.OpenSlide, file: SlideFile, path: Path, drawn_px: int
    ) -> None:
        self._opened, self._path = opened, path
        self.info = _describe(opened, file)
        self._to_draw_px = drawn_px
        self._tiles: JpegLevels | None = None

    def read(self, level: int, x: int, y: int, size: tuple[int, int]) -> Pixels:
        found = self._decode(level, x, y, size)
        return self._draw(level, x, y, size) if found is None else found

    def _decode(self, level: int, x: int, y: int, size: tuple[int, int]) -> Pixels | None:
        self._to_draw_px -= size[0] * size[1]
        if self._to_draw_px > 0 or self.info.vendor not in _PLAIN:
            return None
        if self._tiles is None:
            from histo_index.slides.reading.jpeg_levels import JpegLevels

            self._tiles = JpegLevels(self._path, self.info.levels, self._draw)
        return self._tiles.read(level, x, y, size)

    def _draw(self, level: int, x: int, y: int, size: tuple[int, int]) -> Pixels:
        downsample = self.info.levels[level].downsample
        place = round(x * downsample), round(y * downsample)
        try:
            region = self._opened.read_region(place, level, size)
        except openslide.OpenSlideError as error:
            raise explain_fault(self.info.path, _line(error)) from error
        pixels = np.asarray(region)
        alpha = pixels[:, :, 3]
        if alpha.min() == _OPAQUE:
            return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGBA2RGB), np.uint8)
        # What was not scanned is transparent: white, as behind the transparent parts of a PNG.
        weight = alpha[:, :, None].astype(np.uint16)
        mixed = pixels[:, :, :3] * weight + _OPAQUE * (_OPAQUE - weight)
        return ((mixed + _OPAQUE // 2) // _OPAQUE).astype(np.uint8)

    def close(self) -> None:
        self._opened.close()
        if self._tiles is not None:
            self._tiles.close()


def _describe(opened: openslide.OpenSlide, file: SlideFile) -> SlideInfo:
    properties = opened.properties
    sizes = zip(opened.level_dimensions, opened.level_downsamples, strict=True)
    levels = tuple(SlideLevel(width=w, height=h, downsample=float(d)) for (w, h), d in sizes)
    if not all(0 < side < _LONGEST_PX for level in levels for side in (level.width, level.height)):
        raise ImageError(f"{file}: damaged slide ({levels[0].width}×{levels[0].height} pixels)")
    stored = tuple(
        properties.get(name)
        for name in (openslide.PROPERTY_NAME_MPP_X, openslide.PROPERTY_NAME_MPP_Y)
    )
    scale, problems = choose_scale((stored[0], stored[1]), file.mpp, "the file (openslide.mpp)")
    return SlideInfo(
        path=str(file),
        reader=reader_name(),
        vendor=properties.get(openslide.PROPERTY_NAME_VENDOR, "unknown"),
        levels=levels,
        scale=scale,
        bounds=_bounds(properties, levels[0]),
        # The names only: label and macro pictures show patients' names.
        associated=tuple(opened.associated_images),
        problems=tuple(problems),
    )


def _bounds(properties: Mapping[str, str], plane: SlideLevel) -> Bounds:
    whole = Bounds(x=0, y=0, width=plane.width, height=plane.height)
    names = (
        openslide.PROPERTY_NAME_BOUNDS_X,
        openslide.PROPERTY_NAME_BOUNDS_Y,
        openslide.PROPERTY_NAME_BOUNDS_WIDTH,
        openslide.PROPERTY_NAME_BOUNDS_HEIGHT,
    )
    try:
        x, y, width, height = (int(properties[name]) for name in names)
    except (KeyError, ValueError):
        return whole
    is_inside = x >= 0 and y >= 0 and x + width <= plane.width and y + height <= plane.height
    return Bounds(x=x, y=y, width=width, height=height) if is_inside and width * height else whole


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
