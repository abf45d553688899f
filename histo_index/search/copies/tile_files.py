"""The files of tiles and queries, whose pixels are compared."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from histo_index.arrays import Int64
from histo_index.indexer.reader import OpenIndex
from histo_index.progress import track
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


def read_wanted(
    wanted: Sequence[Wanted | None], files: TileFiles | None, size_px: int
) -> Iterator[tuple[int, Greys]]:
    """Read the thumbnails that can be read: position, and luminance uint8 [T, T]."""
    numbers = [number for number, one in enumerate(wanted) if one is not None]
    if files is None or not numbers:
        return
    asked = [one for one in wanted if one is not None]
    read = files.read([one.path for one in asked], size_px)
    for number, one, found in track(
        zip(numbers, asked, read, strict=True), "confirming", total=len(asked)
    ):
        # A file that was changed since the build is not the tile that was indexed. Slides are too
        # large to be hashed again for a picture.
        if found is not None and (one.sha256 is None or found.sha256 in ("", one.sha256)):
            yield number, found.pixels
