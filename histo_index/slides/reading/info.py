"""What is known of a slide: levels, scale, bounds, and what is wrong with it."""

import math
from dataclasses import dataclass
from typing import Final

from histo_index.errors import ImageError

# Slides are scanned at 0.1 to 2 µm/px. A TIFF without a scale often says 72 dpi, 353 µm/px.
SMALLEST_MPP: Final = 0.02
LARGEST_MPP: Final = 20.0
# A greater difference between x and y is mentioned; tiles are square in microns in any case.
_ANISOTROPY: Final = 0.01
# A scale of the user that differs from that of the file by more is mentioned.
_CONTRADICTION: Final = 1.05
REMEDY: Final = "pass --slide-mpp with a CSV of the columns slide,mpp"


@dataclass(frozen=True, kw_only=True)
class SlideLevel:
    """A resolution level.

    Attributes:
        width: in pixels of the level.
        height: in pixels of the level.
        downsample: level-0 pixels per pixel of the level.
    """

    width: int
    height: int
    downsample: float


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """The scanned part of the plane, in level-0 pixels."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Microns per level-0 pixel.

    Attributes:
        x: along a row.
        y: along a column.
        origin: where the numbers come from.
    """

    x: float
    y: float
    origin: str

    @property
    def mean(self) -> float:
        """The geometric mean of both directions."""
        return math.sqrt(self.x * self.y)


@dataclass(frozen=True, kw_only=True)
class SlideInfo:
    """A slide as its reader describes it. Names of people are no part of it.

    Attributes:
        path: as the user named it.
        reader: name and version of the library that reads it.
        vendor: format, as the reader calls it.
        levels: the first is the finest.
        scale: microns per level-0 pixel; None if unknown.
        bounds: the scanned part of the plane.
        associated: names of the pictures beside the tissue; they are never opened.
        problems: what is wrong with the slide, one line each.
    """

    path: str
    reader: str
    vendor: str
    levels: tuple[SlideLevel, ...]
    scale: Scale | None
    bounds: Bounds
    associated: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def width(self) -> int:
        """Width of the whole plane in level-0 pixels."""
        return self.levels[0].width

    @property
    def height(self) -> int:
        """Height of the whole plane in level-0 pixels."""
        return self.levels[0].height

    def require_scale(self) -> Scale:
        """Return the scale.

        Raises:
            ImageError: it is unknown.
        """
        if self.scale is None:
            why = next((line for line in self.problems if line.startswith("no scale")), "no scale")
            raise ImageError(f"{self.path}: {why}; {REMEDY}")
        return self.scale


def choose_scale(
    stored: tuple[object, object], given: float | None, origin: str
) -> tuple[Scale | None, list[str]]:
    """Choose the scale of a slide.

    Args:
        stored: what the file says, along x and y; None where it says nothing.
        given: what the user says; wins over the file.
        origin: where the stored values come from.

    Returns:
        The scale, or None; and the problems.
    """
    if given is not None:
        return Scale(x=given, y=given, origin="--slide-mpp"), _contradictions(stored, given)
    if stored == (None, None):
        return None, ["no scale (microns per pixel) in the file"]
    x, y = (_as_length(value) for value in stored)
    if x is None or y is None:
        shown = ", ".join(str(value) for value in stored)
        return None, [
            f"no scale: the file says {shown} microns per pixel, expected "
            f"{SMALLEST_MPP:g} to {LARGEST_MPP:g}"
        ]
    problems = []
    if abs(x - y) > _ANISOTROPY * max(x, y):
        problems.append(f"{x:g} µm/px along x and {y:g} along y: tiles are made square in microns")
    return Scale(x=x, y=y, origin=origin), problems


def _contradictions(stored: tuple[object, object], given: float) -> list[str]:
    lengths = [length for value in stored if (length := _as_length(value)) is not None]
    if all(1 / _CONTRADICTION <= length / given <= _CONTRADICTION for length in lengths):
        return []
    return [f"--slide-mpp says {given:g} µm/px, the file {lengths[0]:g}: the file's is not used"]


def _as_length(value: object) -> float | None:
    try:
        length = float(str(value))
    except ValueError:
        return None
    return length if SMALLEST_MPP <= length <= LARGEST_MPP else None
