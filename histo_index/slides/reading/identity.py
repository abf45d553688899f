"""The name of a slide tile, and which files are slides.

A tile of a slide is named `slide.svs#x=1024,y=2048,mpp=0.5,size=256`. The name is its path and its
image id: everything that reads a tile file by its path can read a slide tile by this one. Where the
user gave the scale of the slide, the name ends with it: `…,size=256,slide_mpp=0.25`.
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

# What OpenSlide reads, besides TIFF. A DICOM slide is a folder.
SLIDE_SUFFIXES: Final = frozenset(
    (".svs", ".ndpi", ".mrxs", ".scn", ".svslide", ".bif", ".vms", ".vmu", ".zvi", ".czi")
)
DICOM_SUFFIX: Final = ".dcm"
TIFF_SUFFIXES: Final = frozenset((".tif", ".tiff"))

_MARK: Final = "#x="
_NAME: Final = re.compile(
    r"(?P<slide>.+)#x=(?P<x>-?\d{1,9}),y=(?P<y>-?\d{1,9})"
    r",mpp=(?P<mpp>\d{1,6}(?:\.\d{1,9})?),size=(?P<size>\d{1,5})"
    r"(?:,slide_mpp=(?P<slide_mpp>\d{1,6}(?:\.\d{1,9})?))?",
    re.DOTALL,
)


@dataclass(frozen=True, kw_only=True)
class SlideTile:
    """A square region of a slide.

    Attributes:
        slide: path of the slide.
        x: left edge in level-0 pixels of the whole plane.
        y: upper edge in level-0 pixels of the whole plane.
        mpp: microns per pixel of the tile.
        size: side of the tile in pixels at that scale.
        slide_mpp: microns per level-0 pixel where the user gave them; None if the file has them.
    """

    slide: str
    x: int
    y: int
    mpp: float
    size: int
    slide_mpp: float | None = None

    def __str__(self) -> str:
        return f"{self.slide}{self.position}"

    @property
    def position(self) -> str:
        """The part of the name after the slide."""
        return f"#x={self.x},y={self.y}{self.scale}"

    @property
    def scale(self) -> str:
        """The part of the name after the place."""
        given = "" if self.slide_mpp is None else f",slide_mpp={self.slide_mpp:.9g}"
        return f",mpp={self.mpp:.9g},size={self.size}{given}"


def parse_tile(name: str | Path) -> SlideTile | None:
    """Return the slide tile that a path names; None if it names a file."""
    text = str(name)
    if _MARK not in text or (match := _NAME.fullmatch(text)) is None:
        return None
    mpp, size, given = float(match["mpp"]), int(match["size"]), match["slide_mpp"]
    slide_mpp = None if given is None else float(given)
    if not (mpp > 0 and size > 0 and slide_mpp != 0):
        return None
    return SlideTile(
        slide=match["slide"], x=int(match["x"]), y=int(match["y"]), mpp=mpp, size=size,
        slide_mpp=slide_mpp,
    )  # fmt: skip


def file_part(path: str) -> str:
    """Return the file that holds a tile: the slide of a slide tile, else the path itself."""
    tile = parse_tile(path)
    return path if tile is None else tile.slide


def is_there(path: str | Path) -> bool:
    """Return whether a tile can be looked for: its file, or the slide that holds it, exists."""
    tile = parse_tile(path)
    return Path(path).is_file() if tile is None else Path(tile.slide).exists()


@cache
def reading_version() -> str:
    """Return the version of the library that reads slides, without loading it.

    Libraries differ in pixels, so it is part of the digest of every slide tile.
    """
    # Imported here: a look-up must start fast.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"openslide-bin {version('openslide-bin')}"
    except PackageNotFoundError:
        return "openslide of the system"


def is_slide_name(path: str | Path) -> bool:
    """Return whether a path has the suffix of a slide; TIFF may be either."""
    return Path(path).suffix.lower() in SLIDE_SUFFIXES
