"""Export an index to AnnData, Parquet, NumPy, or for embedding-atlas."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from histo_index.api.features.map_points import MAP_COLUMNS, map_points
from histo_index.arrays import Float32, Int64
from histo_index.errors import ImageError, InputError
from histo_index.indexer.embeddings import iterate_embeddings
from histo_index.indexer.reader import OpenIndex
from histo_index.progress import track

if TYPE_CHECKING:
    from histo_index.arrays import Pixels

SUFFIXES: Final = (".h5ad", ".parquet", ".npy")
# What the index writes about the files of tiles.
_LEFT_OUT: Final = frozenset(("sha256", "note", "stem"))
_NOT_IN_ATLAS: Final = frozenset(("path", "width", "height", *MAP_COLUMNS))
_THUMBNAIL_PX: Final = 64
_BLOCK_ROWS: Final = 4096
_NEIGHBOURS: Final = 10


@dataclass(frozen=True, kw_only=True)
class ExportReport:
    """What was exported.

    Attributes:
        file: the file.
        tiles: N.
        columns: of the tiles.
        hidden: private columns that were left out.
        images: how many tiles have a thumbnail; None where none were asked for.
    """

    file: Path
    tiles: int
    columns: tuple[str, ...]
    hidden: int
    images: int | None = None


def export(
    index: str | Path,
    output: str | Path,
    *,
    atlas: bool = False,
    private: bool = False,
    tiles: str | Path | None = None,
) -> ExportReport:
    """Export the tiles of an index; removed ones and private columns are left out.

    Args:
        index: the index folder.
        output: `.h5ad` (AnnData), `.parquet`, or `.npy` with a `.csv` of the columns beside it.
        atlas: write a Parquet for embedding-atlas: columns, a map, neighbours and thumbnails
            instead of embeddings.
        private: export private columns too.
        tiles: folder of the tile files, for thumbnails; default: as indexed.

    Raises:
        InputError: the suffix is unknown, or a library that it needs is not installed.
        IndexFormatError: the index is damaged.
        OSError: the disk is full or not writable.
    """
    path, opened = Path(output), OpenIndex(Path(index), private=private)
    _require_form(path, atlas=atlas)
    rows = opened.live_rows()
    kept = [name for name in opened.rows.column_names if name not in _LEFT_OUT]
    if atlas:
        kept = [name for name in kept if name not in _NOT_IN_ATLAS]
    table = opened.rows.select(kept)
    if opened.is_live is not None:
        table = table.filter(pa.array(opened.is_live))
    images = _write_atlas(opened, path, table, tiles) if atlas else None
    if not atlas:
        _write_matrix(opened, path, table, rows)
    return ExportReport(
        file=path, tiles=len(rows), columns=tuple(table.column_names), hidden=len(opened.hidden),
        images=images,
    )  # fmt: skip


def _require_form(path: Path, *, atlas: bool) -> None:
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: unknown suffix; expected one of {', '.join(SUFFIXES)}")
    if atlas and path.suffix.lower() != ".parquet":
        raise InputError(f"{path}: --atlas writes Parquet; pass a name that ends with .parquet")
    if path.suffix.lower() == ".h5ad":
        from importlib.util import find_spec

        if find_spec("h5py") is None:
            raise InputError(
                f"{path}: needs h5py, which is not installed; run pip install 'histo-index[h5]'"
            )


def _write_matrix(index: OpenIndex, path: Path, table: pa.Table, rows: Int64) -> None:
    from histo_index.features.writing.matrix import Matrix

    matrix = Matrix(
        table=table,
        size=index.manifest.embedding_size,
        blocks=lambda: iterate_embeddings(index, rows),
    )
    if path.suffix.lower() == ".h5ad":
        from histo_index.features.writing.h5ad import write_h5ad

        write_h5ad(path, matrix)
        return
    from histo_index.features.writing.plain import write_npy, write_parquet

    write = write_npy if path.suffix.lower() == ".npy" else write_parquet
    write(path, matrix)


def _write_atlas(index: OpenIndex, path: Path, table: pa.Table, tiles: str | Path | None) -> int:
    """Write the file for embedding-atlas; return how many tiles have a thumbnail."""
    from histo_index.features.writing.atlas import write_atlas

    count = 0

    def images() -> Iterator[bytes | None]:
        nonlocal count
        for data in _thumbnails(index, tiles):
            count += data is not None
            yield data

    write_atlas(
        path, table, points=map_points(index), neighbours=_neighbours(index), images=images()
    )
    return count


def _neighbours(index: OpenIndex) -> tuple[Int64, Float32]:
    """Find the nearest tiles of each tile, by their number among the exported ones."""
    from histo_index.search.neighbours.nearest import nearest_rows

    rows = index.live_rows()
    parts = []
    for start in range(0, len(rows), _BLOCK_ROWS):
        own = rows[start : start + _BLOCK_ROWS]
        found = nearest_rows(
            index, index.vectors(own), k=_NEIGHBOURS, own_rows=[int(row) for row in own]
        )
        parts.append(found)
    numbers = np.full(len(index) + 1, -1, np.int64)
    numbers[rows] = np.arange(len(rows))
    found_rows = np.concatenate([part.rows for part in parts])
    return numbers[found_rows], np.concatenate([part.distances for part in parts])


def _thumbnails(index: OpenIndex, tiles: str | Path | None) -> Iterator[bytes | None]:
    """Read a JPEG of each tile, in decoder processes; None where its file cannot be read."""
    from histo_index.api.answers.pictures import tiles_folder
    from histo_index.encoder.decode.image_file import DecodeLimits
    from histo_index.encoder.decode.pool import DecodePool
    from histo_index.encoder.decode.preprocessing import Preprocessing
    from histo_index.encoder.decode.worker import DecodeSettings
    from histo_index.hardware import usable_cores

    folder = tiles_folder(index, tiles)
    rows = index.live_rows()
    names = index.rows["path"].take(pa.array(rows)).to_pylist()
    small = Preprocessing(resize_px=_THUMBNAIL_PX, crop_px=_THUMBNAIL_PX)
    settings = DecodeSettings(limits=DecodeLimits(), preprocessing=small)
    with DecodePool(settings, workers=usable_cores()) as pool:
        prepared = pool.prepare(folder / name for name in names)
        for tile in track(prepared, "reading", total=len(names)):
            yield None if isinstance(tile, ImageError) else _as_jpeg(tile.pixels)


def _as_jpeg(pixels: "Pixels") -> bytes:
    from PIL import Image

    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=80)
    return data.getvalue()
