"""The tile files of an index, opened for comparing their pixels."""

from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from histo_index.api.answers.pictures import tiles_folder
from histo_index.encoder.decode.thumbnail import read_thumbnails
from histo_index.indexer.reader import OpenIndex
from histo_index.search.copies.tile_files import TileFiles
from histo_index.slides.reading.identity import is_there

# Tiles whose files are looked for, spread over the index.
_LOOKED_FOR: Final = 64


def tile_files(index: OpenIndex, given: str | Path | TileFiles | None) -> TileFiles | None:
    """Return the tile files below a folder, default where they were indexed; or those given.

    None where the files are gone, as of tiles that were moved or indexed from embeddings: then
    nothing can be confirmed on pixels, and looking for every file would only take time.
    """
    if isinstance(given, TileFiles):
        return given
    root, live = tiles_folder(index, given), index.live_rows()
    rows = live[np.linspace(0, len(live) - 1, min(_LOOKED_FOR, len(live))).astype(np.int64)]
    paths = index.rows["path"].take(pa.array(rows)).to_pylist()
    if not any(is_there(root / path) for path in paths):
        return None
    return TileFiles(root=root, read=read_thumbnails)
