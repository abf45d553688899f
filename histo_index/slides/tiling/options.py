"""How slides are cut into tiles."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from histo_index.errors import InputError
from histo_index.slides.reading.info import LARGEST_MPP, SMALLEST_MPP
from histo_index.wording import printable

METHODS: Final = ("otsu", "entropy", "none")
_SMALLEST_PX: Final = 16
_LARGEST_PX: Final = 8192
_MOST_OVERLAP: Final = 0.95


@dataclass(frozen=True, kw_only=True)
class TileOptions:
    """How slides are cut into tiles.

    Attributes:
        mpp: microns per pixel of the tiles.
        tile_size: side of a tile in pixels.
        overlap: share of a side that neighbouring tiles have in common.
        tissue: how tissue is found: one of METHODS.
        min_tissue: smallest share of a tile that is tissue.
        sharpness: measure the sharpness of each tile; reads all pixels.

    Raises:
        InputError: a value is out of range.
    """

    mpp: float
    tile_size: int = 256
    overlap: float = 0.0
    tissue: str = "otsu"
    min_tissue: float = 0.5
    sharpness: bool = False

    def __post_init__(self) -> None:
        if not SMALLEST_MPP <= self.mpp <= LARGEST_MPP:
            raise InputError(
                f"mpp {self.mpp} is not usable; expected {SMALLEST_MPP} to {LARGEST_MPP:g} microns "
                "per pixel"
            )
        # Names of tiles hold nine digits.
        object.__setattr__(self, "mpp", float(f"{self.mpp:.6g}"))
        if not _SMALLEST_PX <= self.tile_size <= _LARGEST_PX:
            raise InputError(
                f"tile size {self.tile_size} is not usable; expected {_SMALLEST_PX} to "
                f"{_LARGEST_PX} pixels"
            )
        if not 0 <= self.overlap <= _MOST_OVERLAP:
            raise InputError(
                f"overlap {self.overlap} is not usable; expected a share from 0 to {_MOST_OVERLAP}"
            )
        if self.tissue not in METHODS:
            raise InputError(f"unknown tissue method {self.tissue}; expected {', '.join(METHODS)}")
        if not 0 <= self.min_tissue <= 1:
            raise InputError(f"min-tissue {self.min_tissue} is not a share; expected 0 to 1")


@dataclass(frozen=True, kw_only=True)
class SlideSource:
    """How the slides of a source are cut; an index remembers it.

    Attributes:
        options: scale and size of the tiles, and how tissue is found.
        slide_mpp: path, file name or stem of a slide to microns per level-0 pixel.
    """

    options: TileOptions
    slide_mpp: Mapping[str, float] = field(default_factory=dict)


def find_mpp(path: Path, known: Mapping[str, float]) -> float | None:
    """Return the given scale of a slide, by its path, its file name or its stem."""
    name = _find_name(path, known)
    return None if name is None else known[name]


def check_names(paths: Sequence[Path], known: Mapping[str, float]) -> list[str]:
    """Describe names of given scales that stand for no slide, or for several."""
    found: dict[str, list[Path]] = {}
    for path in paths:
        if (name := _find_name(path, known)) is not None:
            found.setdefault(name, []).append(path)
    unknown = [name for name in known if name not in found]
    lines = []
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        lines.append(f"--slide-mpp: {printable(unknown[0])}{more}: no slide of this name here")
    lines += [
        f"--slide-mpp: {printable(name)} stands for {len(slides)} slides, {printable(slides[0])} "
        f"and {printable(slides[1])}; name them by their paths"
        for name, slides in found.items()
        if len(slides) > 1
    ]
    return lines


def _find_name(path: Path, known: Mapping[str, float]) -> str | None:
    names = (str(path), path.as_posix(), path.name, path.stem)
    return next((name for name in names if name in known), None)
