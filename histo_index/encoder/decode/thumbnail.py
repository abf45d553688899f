"""Read tiles as small grey thumbnails."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from histo_index.encoder.decode.image_file import DecodeLimits, read_tile
from histo_index.errors import ImageError
from histo_index.hardware import usable_cores


@dataclass(frozen=True, kw_only=True)
class TileThumbnail:
    """A small grey picture of a tile.

    Attributes:
        pixels: float32 [T, T], luminance 0 to 255.
        sha256: of the file it was read from.
    """

    pixels: npt.NDArray[np.float32]
    sha256: str


def read_thumbnails(paths: Sequence[Path], size_px: int) -> Iterator[TileThumbnail | None]:
    """Read a square thumbnail of each file, in order; None for a file that cannot be read."""

    def read(path: Path) -> TileThumbnail | None:
        try:
            tile = read_tile(path, DecodeLimits())
        except ImageError:
            return None
        picture = Image.fromarray(tile.pixels).convert("L")
        small = picture.resize((size_px, size_px), Image.Resampling.BOX)
        return TileThumbnail(pixels=np.asarray(small, np.float32), sha256=tile.sha256)

    with ThreadPoolExecutor(usable_cores()) as threads:
        yield from threads.map(read, paths)
