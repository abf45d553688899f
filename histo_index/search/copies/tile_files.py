"""The files of tiles and queries, whose pixels are compared."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from histo_index.arrays import Bools, Int64
from histo_index.indexer.reader import OpenIndex
from histo_index.progress import track
from histo_index.search.copies.limits import THUMBNAIL_PX
from histo_index.search.copies.pixels import Greys, ReadThumbnails


@dataclass(frozen=True, kw_only=True)
class TileFiles:
    """The files of an index, to compare pixels.

    Attributes:
        root: the folder that tile paths are relative to.
        read: reads thumbnails.
    """

    root: Path
    read: ReadThumbnails


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A file whose pixels are compared.

    Attributes:
        path: the file.
        sha256: what it held when it was indexed; None of a query.
    """

    path: Path
    sha256: str | None = None


def wanted_rows(index: OpenIndex, rows: Int64, files: TileFiles | None) -> list[Wanted | None]:
    """List the files of tiles, rows int64 [n]; None each without a folder of files."""
    if files is None:
        return [None] * len(rows)
    tiles = index.rows.select(["path", "sha256"]).take(pa.array(rows))
    return [
        Wanted(path=files.root / path, sha256=sha256)
        for path, sha256 in zip(*(column.to_pylist() for column in tiles.columns), strict=True)
    ]


def read_wanted(wanted: Sequence[Wanted | None], files: TileFiles | None) -> tuple[Bools, Greys]:
    """Read the thumbnails of images, those that can be read.

    Args:
        wanted: the file of each of n images, or None where there is none.
        files: reads the files; None reads nothing.

    Returns:
        bool [n], which were read, and uint8 [n, T, T], luminance; zeros where nothing was read.
    """
    is_there = np.zeros(len(wanted), bool)
    thumbnails = np.zeros((len(wanted), THUMBNAIL_PX, THUMBNAIL_PX), np.uint8)
    asked = [(number, one) for number, one in enumerate(wanted) if one is not None]
    if files is None or not asked:
        return is_there, thumbnails
    read = files.read([one.path for _, one in asked], THUMBNAIL_PX)
    for (number, one), found in track(
        zip(asked, read, strict=True), "confirming", total=len(asked)
    ):
        # A file that was changed since the build is not the tile that was indexed. Slides are too
        # large to be hashed again for a picture.
        if found is not None and (one.sha256 is None or found.sha256 in ("", one.sha256)):
            is_there[number], thumbnails[number] = True, found.pixels
    return is_there, thumbnails
