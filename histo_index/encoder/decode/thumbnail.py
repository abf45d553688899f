"""Read tiles as small grey thumbnails."""

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from histo_index.arrays import Pixels
from histo_index.encoder.decode.image_file import DecodeLimits, read_tile
from histo_index.encoder.decode.slide_tiles import slide_of
from histo_index.errors import ImageError
from histo_index.hardware import usable_cores

# Files at a time: a thread never runs far ahead of what is asked for.
_FILES: Final = 1024


@dataclass(frozen=True, kw_only=True)
class TileThumbnail:
    """A small grey picture of a tile.

    Attributes:
        pixels: uint8 [T, T], luminance.
        sha256: of the file it was read from; empty for a tile of a slide.
    """

    pixels: Pixels
    sha256: str


def read_thumbnails(paths: Sequence[Path], size_px: int) -> Iterator[TileThumbnail | None]:
    """Read a square thumbnail of each tile, in order; None for one that cannot be read.

    Tiles of slides are read in decoder processes.
    """
    are_slides = [slide_of(path) is not None for path in paths]
    tiles = _read_slides(list(itertools.compress(paths, are_slides)), size_px)
    files = _read_files(
        [path for path, flag in zip(paths, are_slides, strict=True) if not flag], size_px
    )
    for is_slide in are_slides:
        yield next(tiles if is_slide else files)


def _read_files(paths: Sequence[Path], size_px: int) -> Iterator[TileThumbnail | None]:
    def read(path: Path) -> TileThumbnail | None:
        try:
            tile = read_tile(path, DecodeLimits(), least_px=2 * size_px)
        except ImageError:
            return None
        picture = Image.fromarray(tile.pixels).convert("L")
        small = picture.resize((size_px, size_px), Image.Resampling.HAMMING)
        return TileThumbnail(pixels=np.asarray(small), sha256=tile.sha256)

    with ThreadPoolExecutor(usable_cores()) as threads:
        for start in range(0, len(paths), _FILES):
            yield from threads.map(read, paths[start : start + _FILES])


def _read_slides(paths: Sequence[Path], size_px: int) -> Iterator[TileThumbnail | None]:
    # Imported here: `pictures` needs this module.
    from histo_index.encoder.decode.pictures import Asked, GreyFile, PictureWork, Shown
    from histo_index.encoder.decode.pool import DecodePool

    work = PictureWork(limits=DecodeLimits(), preprocessing=None)
    pool: DecodePool[Asked, Shown] = DecodePool(work, workers=usable_cores())
    with pool:
        for found in pool.prepare(GreyFile(path=path, size_px=size_px) for path in paths):
            yield found if isinstance(found, TileThumbnail) else None
