"""Tiles for measuring copies: planted copies of tiles, and fields cut side by side."""

import csv
import re
import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image
from training_split import DATA

SETS: Final = ("ebhi_colon_dx", "glas_colon_tissue", "kather2016", "lc25000")
# Most tiles of each evaluation set, and of each training source, that are planted.
_MOST_REPORTED: Final = 250
_MOST_CHOSEN_BY: Final = 40
# The corner of a tile that was cut from a larger image, in its name.
_CORNER: Final = re.compile(r"-x(\d+)-y(\d+)\.jpg$")
# Pixels of a field of a slide, at about half a micron each; tiles are cut into quarters.
_FIELD_PX: Final = 96

Change = Callable[[Image.Image], Image.Image]


def _cropped(tile: Image.Image) -> Image.Image:
    margin = tile.width // 20, tile.height // 20
    return tile.crop((*margin, tile.width - margin[0], tile.height - margin[1]))


# What is done to a tile, and the suffix that it is saved with.
COPIES: Final[dict[str, tuple[Change, str]]] = {
    "JPEG, quality 75": (lambda tile: tile, "jpg"),
    "a row of pixels less": (lambda tile: tile.crop((0, 1, tile.width, tile.height)), "png"),
    "half the size": (lambda tile: tile.resize((tile.width // 2, tile.height // 2)), "png"),
    "mirrored": (lambda tile: tile.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "png"),
    "turned by 90°": (lambda tile: tile.transpose(Image.Transpose.ROTATE_90), "png"),
    "nine tenths, cut": (_cropped, "png"),
}


def evaluation_tiles() -> dict[str, list[Path]]:
    """List the tiles of each evaluation set that are planted."""
    sets = {name: sorted((DATA / "eval" / name / "images").iterdir()) for name in SETS}
    return {name: spread(files, _MOST_REPORTED) for name, files in sets.items()}


def training_tiles() -> dict[str, list[Path]]:
    """List the tiles of each training source that are planted."""
    sources: dict[str, list[Path]] = defaultdict(list)
    with (DATA / "train.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            sources[row["source"]].append(DATA / row["path"])
    return {name: spread(sorted(sources[name]), _MOST_CHOSEN_BY) for name in sorted(sources)}


def training_fields() -> list[Path]:
    """List the training tiles that were cut side by side from larger images."""
    return [path for path in sorted((DATA / "train").rglob("*.jpg")) if _CORNER.search(path.name)]


def spread(files: Sequence[Path], most: int) -> list[Path]:
    """Choose some files, spread evenly over all."""
    places = np.linspace(0, len(files) - 1, min(most, len(files)))
    return [files[place] for place in np.unique(places.astype(int))]


def plant(folder: Path, sets: Mapping[str, Sequence[Path]]) -> None:
    """Save tiles, `SET/original/STEM.png`, and a copy of each kind, `SET/copy-KIND/STEM`."""
    for name, files in sets.items():
        for file in files:
            path = folder / name / "original" / f"{file.stem}.png"
            save(path, Image.open(file).convert("RGB"))
            tile = Image.open(path)
            for number, (change, suffix) in enumerate(COPIES.values()):
                copy = folder / name / f"copy-{number}" / f"{file.stem}.{suffix}"
                save(copy, change(tile))


def save(path: Path, picture: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, quality=75)


def cut_fields(folder: Path) -> None:
    """Cut every evaluation tile into quarters and a slide into fields; add tiles cut before."""
    for name in SETS:
        for file in sorted((DATA / "eval" / name / "images").iterdir()):
            tile = Image.open(file).convert("RGB")
            cut_image(folder / name, tile, file.stem, min(tile.size) // 2)
    slide = Image.open(DATA / "slides" / "CMU-1-Small-Region.svs").convert("RGB")
    cut_image(folder / "slide", slide, "CMU-1", _FIELD_PX)
    (folder / "train").mkdir()
    for file in training_fields():
        # Cut from the slide above.
        if not file.name.startswith("cmu1"):
            shutil.copy(file, folder / "train" / _CORNER.sub(r"__\1-\2.jpg", file.name))


def cut_image(folder: Path, image: Image.Image, name: str, size_px: int) -> None:
    for top in range(0, image.height - size_px + 1, size_px):
        for left in range(0, image.width - size_px + 1, size_px):
            field = image.crop((left, top, left + size_px, top + size_px))
            save(folder / f"{name}__{left}-{top}.png", field)
