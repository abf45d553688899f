"""The tile files of an index, opened for comparing their pixels."""

from pathlib import Path

from histo_index.encoder.decode.thumbnail import read_thumbnails
from histo_index.search.copies.copies import TileFiles


def tile_files(root: Path) -> TileFiles:
    """Return the tile files below a folder; a missing one confirms nothing."""
    return TileFiles(root=root, read=read_thumbnails)
