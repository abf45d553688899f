"""Thumbnails of numbered tiles, given instead of read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from histo_index.indexer.hashing.files import hash_file
from histo_index.indexer.reader import OpenIndex
from histo_index.search.copies.pixels import Greys
from histo_index.search.copies.tile_files import TileFiles


@dataclass(frozen=True, kw_only=True)
class Given:
    """A thumbnail."""

    pixels: Greys
    sha256: str


def numbered_pictures(index: OpenIndex, pictures: Greys) -> TileFiles:
    """Return files whose pictures, uint8 [n, 32, 32], are chosen by the number that each holds.

    A file without a number, or with one from n on, cannot be read.
    """

    def read(paths: Sequence[Path], size_px: int) -> Iterator[Given | None]:
        assert size_px == pictures.shape[1]
        for path in paths:
            number = int(path.read_text()) if path.is_file() else len(pictures)
            is_there = number < len(pictures)
            yield Given(pixels=pictures[number], sha256=hash_file(path)) if is_there else None

    return TileFiles(root=index.manifest.tiles_root(index.folder), read=read)
