"""Read the features that a teacher gives of tiles: from a table, or from an index."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from histo_index.arrays import Float32, Int64
from histo_index.encoder.training.distillation.teacher import Teacher
from histo_index.errors import InputError
from histo_index.indexer.embeddings import read_embeddings
from histo_index.indexer.reader import OpenIndex
from histo_index.wording import counted

_KEYS: Final = ("image_id", "path")
_EMBEDDING: Final = "embedding"


def read_teacher(source: Path, columns: Sequence[str], tiles: pa.Table) -> Teacher:
    """Read the features of tiles, found by image id or path.

    Args:
        source: a Parquet table with a column `image_id` or `path` and columns of vectors, or an
            index folder.
        columns: the columns of vectors to learn; none means all of them.
        tiles: the tiles of the run [N], with `image_id` and `path`.

    Raises:
        InputError: no such file, no such column, or none of the tiles is in it.
        IndexFormatError: the index is damaged.
    """
    columns = [name.strip() for name in columns if name.strip()]
    names, features = _read_index(source) if source.is_dir() else _read_table(source, columns)
    if source.is_dir() and set(columns) - {_EMBEDDING}:
        raise InputError(f"{source}: an index has one column, {_EMBEDDING}; pass no other")
    rows = _find(tiles, names)
    known = rows >= 0
    if not known.any():
        ours, theirs = tiles["path"][0].as_py(), next(iter(names.values()))[0].as_py()
        raise InputError(
            f"{source}: has none of {counted(len(rows), 'tile')} by image_id or path: it has "
            f"{theirs}, the tiles are like {ours}; name them alike"
        )
    aligned = {name: _align(matrix, rows) for name, matrix in features.items()}
    return Teacher(name=source.name, columns=aligned)


def _read_index(folder: Path) -> tuple[dict[str, pa.Array], dict[str, Float32]]:
    index = OpenIndex(folder)
    rows = index.live_rows()
    table = index.rows.take(pa.array(rows))
    matrix = read_embeddings(index, rows).astype(np.float32)
    return {key: table[key] for key in _KEYS}, {_EMBEDDING: matrix}


def _read_table(
    path: Path, columns: Sequence[str]
) -> tuple[dict[str, pa.Array], dict[str, Float32]]:
    try:
        schema = pq.read_schema(path)
        keys = [name for name in _KEYS if name in schema.names]
        vectors = [field.name for field in schema if _is_vector(field.type)]
        wanted = list(columns) or vectors
        unknown = [name for name in wanted if name not in vectors]
        if unknown or not keys or not wanted:
            raise InputError(
                f"{path}: has no {unknown[0] if unknown else 'image_id or path'} to learn from; "
                f"expected image_id or path, and vectors; its vectors are "
                f"{', '.join(vectors) or 'none'}"
            )
        table = pq.ParquetFile(path).read([*keys, *wanted], use_threads=False)
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: not a readable Parquet table ({reason})") from error
    return {key: table[key] for key in keys}, {
        name: _as_matrix(path, name, table[name]) for name in wanted
    }


def _is_vector(kind: pa.DataType) -> bool:
    is_list = pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind)
    return bool(is_list and pa.types.is_floating(kind.value_type))


def _as_matrix(path: Path, name: str, column: pa.ChunkedArray) -> Float32:
    whole = column.combine_chunks()
    sizes = pc.list_value_length(whole)
    if whole.null_count or len(pc.unique(sizes)) != 1:
        raise InputError(f"{path}: the vectors of {name} are not all of one length")
    flat = whole.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    if not np.isfinite(flat).all():
        raise InputError(f"{path}: {name} has a value that is no number; compute it again")
    matrix: Float32 = flat.reshape(len(whole), -1)
    return matrix


def _find(tiles: pa.Table, names: dict[str, pa.Array]) -> Int64:
    """Return the row of each tile, -1 where there is none."""
    rows = np.full(len(tiles), -1, np.int64)
    for key, column in names.items():
        found = pc.index_in(tiles[key].cast(pa.string()), value_set=_whole(column))
        found = found.combine_chunks().fill_null(-1).to_numpy(zero_copy_only=False)
        rows = np.where(rows < 0, found, rows)
    return rows


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.cast(pa.string()).combine_chunks()


def _align(matrix: Float32, rows: Int64) -> Float32:
    aligned = np.full((len(rows), matrix.shape[1]), np.nan, np.float32)
    aligned[rows >= 0] = matrix[rows[rows >= 0]]
    return aligned
