"""The tile files of an index, opened for comparing their pixels."""

from pathlib import Path

from histo_index.api.answers.pictures import tiles_folder
from histo_index.encoder.decode.thumbnail import read_thumbnails
from histo_index.indexer.reader import OpenIndex
from histo_index.search.copies.tile_files import TileFiles


def tile_files(index: OpenIndex, given: str | Path | TileFiles | None) -> TileFiles:
    """Return the tile files below a folder, default where they were indexed; or those given."""
    if isinstance(given, TileFiles):
        return given
    return TileFiles(root=tiles_folder(index, given), read=read_thumbnails)
