"""Render tiles that look like stained tissue, for use where real tiles may not be shipped.

The tiles show about 0.5 microns per pixel. They are drawn from how the tissues
are built, not from any photograph, and are no material for medical conclusions.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from histo_index.demo.cells import Section
from histo_index.demo.fat import paint_fat
from histo_index.demo.fibrous import paint_muscle, paint_stroma
from histo_index.demo.glands import paint_glands
from histo_index.demo.stain import Stain, photograph
from histo_index.demo.tissues import (
    paint_background,
    paint_lymphocytes,
    paint_mucus,
    paint_necrosis,
)

__all__ = ["CATEGORIES", "MPP", "Stain", "render_tile", "write_tiles"]

CATEGORIES: Final = (
    "glands",
    "stroma",
    "lymphocytes",
    "fat",
    "muscle",
    "mucus",
    "necrosis",
    "background",
)
# Cell sizes in this package are in pixels of this many microns: 20x on most scanners.
MPP: Final = 0.5

_PAINTERS: Final[Mapping[str, Callable[[np.random.Generator, int], Section]]] = MappingProxyType(
    {
        "glands": paint_glands,
        "stroma": paint_stroma,
        "lymphocytes": paint_lymphocytes,
        "fat": paint_fat,
        "muscle": paint_muscle,
        "mucus": paint_mucus,
        "necrosis": paint_necrosis,
        "background": paint_background,
    }
)
_SMALLEST_PX = 32


def render_tile(
    category: str, *, seed: int, size_px: int = 256, stain: Stain | None = None
) -> npt.NDArray[np.uint8]:
    """Render one tile of a tissue category.

    The same arguments give the same pixels. A larger tile shows more tissue, not
    larger cells.

    Args:
        category: one of `CATEGORIES`.
        seed: 0 or more; chooses the piece of tissue.
        size_px: side of the tile, 32 or more.
        stain: how the slide was stained and scanned; None means a standard stain.

    Returns:
        uint8 RGB [size_px, size_px, 3].

    Raises:
        ValueError: the category is unknown, the tile too small or the seed negative.
    """
    if category not in CATEGORIES:
        raise ValueError(
            f"category {category!r} is unknown; expected one of {', '.join(CATEGORIES)}"
        )
    _require_at_least(size_px, _SMALLEST_PX, name="size_px")
    _require_at_least(seed, 0, name="seed")
    rng = _generator(seed, int.from_bytes(category.encode(), "big"))
    section = _PAINTERS[category](rng, size_px)
    return photograph(section, stain or Stain(), rng=rng)


def write_tiles(
    folder: Path,
    *,
    tiles_per_category: int = 40,
    slides: int = 8,
    seed: int = 0,
    size_px: int = 256,
) -> Path:
    """Write a labelled set of tiles as PNG files and a CSV file.

    Every slide has its own stain, focus and brightness, and holds about as many
    tiles of each category as any other slide. File names (`slide-03/0017.png`)
    do not give the category away. `labels.csv` has one row per tile, ordered by
    path, with the columns `path` (relative to the folder), `label`, `group` (the
    slide) and `mpp`; it is written last.

    Args:
        folder: made if missing.
        tiles_per_category: 1 or more.
        slides: number of slides, 1 or more.
        seed: 0 or more; another seed gives other tissue and other stains.
        size_px: side of the tiles, 32 or more.

    Returns:
        The path of `labels.csv`.

    Raises:
        ValueError: a number is too small, or the folder already has a `labels.csv`.
    """
    _require_at_least(tiles_per_category, 1, name="tiles_per_category")
    _require_at_least(slides, 1, name="slides")
    _require_at_least(seed, 0, name="seed")
    _require_at_least(size_px, _SMALLEST_PX, name="size_px")
    labels_path = folder / "labels.csv"
    if labels_path.exists():
        raise ValueError(f"{labels_path} already exists; give another folder or delete this one")
    rows = []
    for slide in range(slides):
        stain = Stain.of_slide(_child_seed(seed, 1, slide))
        name = f"slide-{slide + 1:02d}"
        (folder / name).mkdir(parents=True, exist_ok=True)
        for row, number in enumerate(_tiles_on_slide(seed, slide, slides, tiles_per_category)):
            label = CATEGORIES[number // tiles_per_category]
            pixels = render_tile(
                label, seed=_child_seed(seed, 2, number), size_px=size_px, stain=stain
            )
            path = f"{name}/{row + 1:04d}.png"
            Image.fromarray(pixels).save(folder / path, compress_level=1)
            rows.append((path, label, name, MPP))
    with labels_path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("path", "label", "group", "mpp"))
        writer.writerows(rows)
    return labels_path


def _tiles_on_slide(seed: int, slide: int, slides: int, tiles_per_category: int) -> list[int]:
    # Dealing the tiles out like cards spreads each category evenly; shuffling each
    # hand keeps a file's number from telling its category.
    numbers = np.arange(slide, len(CATEGORIES) * tiles_per_category, slides)
    return [int(number) for number in _generator(seed, 3, slide).permutation(numbers)]


def _generator(*entropy: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))


def _child_seed(*entropy: int) -> int:
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])


def _require_at_least(value: int, smallest: int, *, name: str) -> None:
    if not value >= smallest:
        raise ValueError(f"{name} is {value}; expected {smallest} or more")
