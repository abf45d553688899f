"""Write one Parquet file that embedding-atlas opens: no vectors, but what it would compute of them.

Source: the options `--x`, `--y` and `--neighbors` of embedding-atlas 0.26, and images as Hugging
Face stores them: `{"bytes", "path"}`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from histo_index.arrays import Float32, Floats, Int64
from histo_index.features.writing.plain import write_tables

_NEIGHBOURS: Final = pa.struct({"ids": pa.list_(pa.int64()), "distances": pa.list_(pa.float32())})
_IMAGE: Final = pa.struct({"bytes": pa.binary(), "path": pa.string()})
COLUMNS: Final = {
    "map_x": pa.float32(),
    "map_y": pa.float32(),
    "neighbors": _NEIGHBOURS,
    "image": _IMAGE,
}
_ROWS: Final = 4096


def write_atlas(
    path: Path,
    table: pa.Table,
    *,
    points: Floats,
    neighbours: tuple[Int64, Float32],
    images: Iterator[bytes | None],
) -> None:
    """Write the file.

    Args:
        path: the file.
        table: `image_id` and other columns, [N].
        points: floats [N, 2], the map.
        neighbours: rows int64 [N, K], negative where there are fewer, and distances [N, K].
        images: a JPEG of each tile; None where there is none.

    Raises:
        OSError: the disk is full or not writable.
    """
    names = {name: f"tile_{name}" if name in COLUMNS else name for name in table.column_names}
    table = table.rename_columns(list(names.values()))
    schema = pa.schema([*table.schema, *(pa.field(n, kind) for n, kind in COLUMNS.items())])

    def tables() -> Iterator[pa.Table]:
        for start in range(0, len(table), _ROWS):
            rows = table.slice(start, _ROWS)
            part = slice(start, start + len(rows))
            own = [next(images) for _ in range(len(rows))]
            yield pa.table(
                [
                    *rows.columns,
                    pa.array(points[part, 0], pa.float32()),
                    pa.array(points[part, 1], pa.float32()),
                    _neighbours(neighbours[0][part], neighbours[1][part]),
                    pa.array(
                        [None if data is None else {"bytes": data, "path": None} for data in own],
                        _IMAGE,
                    ),
                ],
                schema=schema,
            )

    write_tables(path, schema, tables(), plain=["image.bytes"])


def _neighbours(rows: Int64, distances: Float32) -> pa.Array:
    is_there = rows >= 0
    ends = np.concatenate([[0], np.cumsum(is_there.sum(axis=1))]).astype(np.int32)
    lists = [
        pa.ListArray.from_arrays(ends, pa.array(values[is_there], kind))
        for values, kind in ((rows, pa.int64()), (distances, pa.float32()))
    ]
    return pa.StructArray.from_arrays(lists, fields=list(_NEIGHBOURS))
