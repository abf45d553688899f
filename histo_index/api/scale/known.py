"""What is known of the scale of tiles."""

import json
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from histo_index.arrays import Float64, Int64
from histo_index.indexer.reader import OpenIndex
from histo_index.slides.scale import Scale

# The column with microns per pixel of a tile.
COLUMN: Final = "mpp"
_DEFAULT_PX: Final = 224


def index_scale(index: OpenIndex) -> Scale | None:
    """Return the scale of the tiles of an index; None if it is unknown."""
    return rows_scale(index, index.live_rows())


def rows_scale(index: OpenIndex, rows: Int64) -> Scale | None:
    """Return the scale of some tiles of an index; None if that of all of them is unknown."""
    scales = row_scales(index, rows)
    known = scales[np.isfinite(scales)]
    if not len(known):
        return None
    _, crop_px = input_px(index.folder)
    return Scale.of(float(known.min()), float(known.max()), crop_px=crop_px)


def row_scales(index: OpenIndex, rows: Int64) -> Float64:
    """Return microns per network pixel of tiles at rows int64 [n]: float64 [n], NaN if unknown."""
    table = index.rows
    if COLUMN not in table.column_names or not _is_number(table[COLUMN].type):
        return np.full(len(rows), np.nan)
    import pyarrow.compute as pc  # here, because a look-up starts fast

    known = table.select([COLUMN, "width", "height"]).take(_make_indices(rows))
    mpp = _floats(known[COLUMN])
    side = _floats(pc.min_element_wise(known["width"], known["height"], skip_nulls=False))
    resize_px, _ = input_px(index.folder)
    scales: Float64 = mpp * side / resize_px
    scales[~((scales > 0) & np.isfinite(scales))] = np.nan
    return scales


def _make_indices(rows: Int64) -> pa.Array:
    """Make an array as `pa.array` does, without the pandas that it imports where installed."""
    return pa.Array.from_buffers(
        pa.int64(), len(rows), [None, pa.py_buffer(np.ascontiguousarray(rows, np.int64))]
    )


def input_px(folder: Path) -> tuple[int, int]:
    """Return what the encoder of an index resizes the shorter side of tiles to, and its crop."""
    try:
        config = json.loads((folder / "encoder" / "config.json").read_bytes())["preprocessing"]
        return int(config["resize_px"]), int(config.get("crop_px", config["resize_px"]))
    except (OSError, ValueError, KeyError, TypeError):
        # Embeddings of another program: only the ratio of two scales counts.
        return _DEFAULT_PX, _DEFAULT_PX


def _floats(column: pa.ChunkedArray) -> Float64:
    # Nulls become NaN. `to_numpy` would import pandas where it is installed.
    return np.array(column.cast(pa.float64()).to_pylist(), np.float64)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))
