"""Read tiles as small grey thumbnails."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from histo_index.arrays import Pixels
from histo_index.encoder.decode.image_file import DecodeLimits, read_tile
from histo_index.errors import ImageError
from histo_index.hardware import usable_cores

# Files at a time: a thread never runs far ahead of what is asked for.
_FILES: Final = 1024


@dataclass(frozen=True, kw_only=True)
class TileThumbnail:
    """A small grey picture of a tile.

    Attributes:
        pixels: uint8 [T, T], luminance.
        sha256: of the file it was read from.
    """

    pixels: Pixels
    sha256: str


def read_thumbnails(paths: Sequence[Path], size_px: int) -> Iterator[TileThumbnail | None]:
    """Read a square thumbnail of each file, in order; None for a file that cannot be read."""

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
