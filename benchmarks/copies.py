"""Copies: the share of planted ones that is found, fields mistaken for copies, and the time.

Run as `copies.py planted`, `copies.py fields` or `copies.py time`. Planted tiles are of `eval/`;
the limits were chosen on training tiles. Fields are quarters of `eval/`, a slide, and training
tiles that were cut on a grid.
"""

import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import measuring
import numpy as np
from clustered import Clusters, prepare_index
from PIL import Image
from training_split import DATA

import histo_index
from histo_index.api.index import Index
from histo_index.api.tile_files import tile_files
from histo_index.arrays import Int64
from histo_index.search.copies.copies import find_copies
from histo_index.search.copies.limits import copy_limits

_EVAL: Final = ("ebhi_colon_dx", "glas_colon_tissue", "kather2016", "lc25000")
_MOST_TILES: Final = 250
_CORNER: Final = re.compile(r"-x(\d+)-y(\d+)\.jpg$")
# Pixels of a field of a slide, at about half a micron each; tiles are cut into quarters.
_FIELD_PX: Final = 96
_ROWS: Final = (25_000, 50_000, 100_000, 200_000)
_SIZE: Final = 1536

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


def main() -> None:
    options = measuring.parser(__doc__)
    options.add_argument("part", choices=["planted", "fields", "time"])
    options.add_argument("--folder", type=Path, required=True, help="for tiles and indexes")
    options.add_argument("--rows", type=int, nargs="+", default=_ROWS, help="of `time`")
    given = options.parse_args()
    measuring.print_machine()
    if given.part == "planted":
        planted(given.folder / "planted")
    elif given.part == "fields":
        fields(given.folder / "fields")
    else:
        times(given.folder, given.rows)


def planted(folder: Path) -> None:
    """Print the share of planted copies that is found, of each kind and set."""
    if not folder.exists():
        plant(folder)
    index = indexed(folder)
    paths = index.opened.rows["path"].to_pylist()
    kinds = np.array([path.split("/")[0] for path in paths])
    lines = []
    for number, name in enumerate(COPIES):
        rows = np.flatnonzero(np.isin(kinds, ["original", f"copy-{number}"]))
        for by, is_shown in (("pixels", True), ("distance alone", False)):
            found = found_pairs(index, rows, is_shown=is_shown)
            stems = [Path(path).stem for path in paths]
            pairs = {(stems[a], kinds[a], kinds[b]) for a, b in found if stems[a] == stems[b]}
            hits = [
                sum(stem.startswith(f"{name}__") for stem, *_ in pairs) / count
                for name, count in counted_tiles(stems, kinds).items()
            ]
            lines.append((name, by, *(f"{share:.1%}" for share in hits)))
    header = (
        "copy",
        "confirmed by",
        *(f"{k} ({v})" for k, v in counted_tiles(stems, kinds).items()),
    )
    measuring.print_table(header, lines)


def plant(folder: Path) -> None:
    """Save tiles of each set, and a copy of each kind; at most _MOST_TILES, spread over the set."""
    for name in _EVAL:
        files = sorted((DATA / "eval" / name / "images").iterdir())
        chosen = np.unique(np.linspace(0, len(files) - 1, min(_MOST_TILES, len(files))).astype(int))
        for file in (files[place] for place in chosen):
            stem = f"{name}__{file.stem}"
            save(folder / "original" / f"{stem}.png", Image.open(file).convert("RGB"))
            tile = Image.open(folder / "original" / f"{stem}.png")
            for number, (change, suffix) in enumerate(COPIES.values()):
                save(folder / f"copy-{number}" / f"{stem}.{suffix}", change(tile))


def save(path: Path, picture: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, quality=75)


def counted_tiles(stems: list[str], kinds: np.ndarray) -> dict[str, int]:
    originals = [stem for stem, kind in zip(stems, kinds, strict=True) if kind == "original"]
    return {name: sum(stem.startswith(f"{name}__") for stem in originals) for name in _EVAL}


def found_pairs(index: Index, rows: Int64, *, is_shown: bool) -> Iterator[tuple[int, int]]:
    """Find the copies among some rows, with or without their files."""
    files = tile_files(index.opened, None) if is_shown else None
    pairs = find_copies(index.opened, rows, copy_limits(index.opened), files).pairs
    return zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)


def fields(folder: Path) -> None:
    """Print how many pairs of fields cut side by side are called copies."""
    if not folder.exists():
        cut(folder)
    index = indexed(folder)
    started_s = time.process_time()
    found = index.duplicates()
    measuring.tell(f"{len(index):,} fields, {time.process_time() - started_s:.1f} CPU s")
    paths = found["path"].to_pylist()
    images = [path.rsplit("__", 1)[0] for path in paths]
    first: dict[int, str] = {}
    lines = []
    for number, image, path, row in zip(
        found["group"].to_pylist(), images, paths, found.to_pylist(), strict=True
    ):
        own = first.setdefault(number, image)
        if row["kind"] != "first":
            where = "within one image" if own == image else "of two images"
            lines.append((where, str(number), path, f"{row['distance']:.4f}", row["pixels"]))
    measuring.print_table(("copies", "group", "field", "distance", "pixels"), lines)


def cut(folder: Path) -> None:
    """Cut every evaluation tile into quarters and a slide into fields; add tiles cut before."""
    for name in _EVAL:
        for file in sorted((DATA / "eval" / name / "images").iterdir()):
            tile = Image.open(file).convert("RGB")
            cut_image(folder / name, tile, file.stem, min(tile.size) // 2)
    slide = Image.open(DATA / "slides" / "CMU-1-Small-Region.svs").convert("RGB")
    cut_image(folder / "slide", slide, "CMU-1", _FIELD_PX)
    (folder / "train").mkdir()
    for file in sorted((DATA / "train").glob("*-x*-y*.jpg")):
        if not file.name.startswith("cmu1"):
            shutil.copy(file, folder / "train" / _CORNER.sub(r"__\1-\2.jpg", file.name))


def cut_image(folder: Path, image: Image.Image, name: str, size_px: int) -> None:
    for top in range(0, image.height - size_px + 1, size_px):
        for left in range(0, image.width - size_px + 1, size_px):
            field = image.crop((left, top, left + size_px, top + size_px))
            save(folder / f"{name}__{left}-{top}.png", field)


def indexed(folder: Path) -> Index:
    path = folder.with_suffix(".hx")
    if not path.exists():
        measuring.tell(f"encoding {folder}")
        histo_index.build(folder, path)
    return histo_index.open(path)


def times(folder: Path, rows: list[int]) -> None:
    """Print the CPU seconds of `duplicates` by the size of the index, without files."""
    lines = []
    clusters = Clusters(count=2000, size=_SIZE, spread=0.5)
    for count in rows:
        home = folder / f"rows-{count}"
        path = prepare_index(home, clusters, rows=count, size=_SIZE, structure="exact")
        index = histo_index.open(path)
        index.opened.verify(np.arange(count))
        started = time.process_time(), time.perf_counter()
        table = index.duplicates()
        cpu_s, wall_s = time.process_time() - started[0], time.perf_counter() - started[1]
        lines.append((f"{count:,}", f"{cpu_s:.1f}", f"{wall_s:.1f}", str(len(table))))
        measuring.tell(" ".join(lines[-1]))
        shutil.rmtree(home)
    measuring.print_table(("tiles", "CPU s", "wall s", "tiles in groups"), lines)


if __name__ == "__main__":
    main()
