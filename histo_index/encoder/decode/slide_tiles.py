"""Read tiles of slides, inside a decoder process, or from outside through one."""

import atexit
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from histo_index.encoder.decode.image_file import DecodeLimits, TileImage
from histo_index.errors import ImageError
from histo_index.slides.reading.identity import SlideTile, parse_tile

if TYPE_CHECKING:
    from histo_index.encoder.decode.pool import DecodePool


def slide_of(path: Path) -> tuple[str, float | None] | None:
    """Return the slide of a tile and its given scale; None for an image file."""
    tile = parse_tile(path)
    return None if tile is None else (tile.slide, tile.slide_mpp)


def read_slide_tiles(
    paths: Sequence[Path], limits: DecodeLimits
) -> Iterator[TileImage | ImageError]:
    """Read tiles of one slide, in a decoder process; neighbours are read as one block.

    Yields:
        The tile, or the error it is rejected with. The digest of a slide tile is empty: it is known
        only to whoever hashed the slide.
    """
    from histo_index.slides.reading.kept import open_kept
    from histo_index.slides.reading.reader import SlideFile
    from histo_index.slides.reading.regions import read_tiles

    tiles = [tile for path in paths if (tile := parse_tile(path)) is not None]
    try:
        slide = open_kept(SlideFile.of(tiles[0].slide, tiles[0].slide_mpp))
    except ImageError as error:
        yield from (_about(tile, error) for tile in tiles)
        return
    for tile, pixels in zip(tiles, read_tiles(slide, tiles), strict=True):
        if isinstance(pixels, ImageError):
            yield _about(tile, pixels)
        elif tile.size**2 > limits.max_pixels:
            yield ImageError(
                f"{tile}: too large: {tile.size}×{tile.size} pixels, the limit is "
                f"{limits.max_pixels:,}; pass a smaller --tile-size or raise --max-pixels"
            )
        else:
            yield TileImage(pixels=pixels, sha256="", note=None)


def _about(tile: SlideTile, error: ImageError) -> ImageError:
    """Name the tile that an error of its slide is about."""
    reason = str(error).removeprefix(f"{tile}: ").removeprefix(f"{tile.slide}: ")
    return ImageError(f"{tile}: {reason}")


@dataclass(frozen=True, kw_only=True)
class ReadWork:
    """Reads slide tiles at their full size."""

    limits: DecodeLimits

    def answers(self, requests: Sequence[Path]) -> Iterator[TileImage | ImageError]:
        """Read each tile, in order."""
        for _, paths in itertools.groupby(requests, slide_of):
            yield from read_slide_tiles(list(paths), self.limits)


def read_outside(path: Path, limits: DecodeLimits) -> TileImage:
    """Read a slide tile in a decoder process, which stays for the next one.

    Raises:
        ImageError: it cannot be read.
    """
    (tile,) = _reader(limits, os.getpid()).prepare([path])
    if isinstance(tile, ImageError):
        raise tile
    return tile


@lru_cache(2)
def _reader(limits: DecodeLimits, process: int) -> "DecodePool[Path, TileImage]":
    from histo_index.encoder.decode.pool import DecodePool

    pool: DecodePool[Path, TileImage] = DecodePool(ReadWork(limits=limits), workers=1)
    atexit.register(pool.close)
    return pool
