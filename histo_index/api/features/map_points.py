"""Place tiles on a plane: their columns `map_x` and `map_y`, the map, or principal components."""

from typing import Final

import numpy as np
import pyarrow as pa

from histo_index.arrays import Floats
from histo_index.indexer.reader import OpenIndex

MAP_COLUMNS: Final = ("map_x", "map_y")


def map_points(index: OpenIndex) -> Floats:
    """Place each tile on a plane: floats [N, 2].

    Raises:
        MismatchError: the map of the index was made for another encoder or distance.
        IndexFormatError: it is damaged.
    """
    from histo_index.search.maps.file import read_map
    from histo_index.search.maps.make import places_of
    from histo_index.search.maps.plane import project

    rows = index.live_rows()
    known = {field.name for field in index.rows.schema if _is_number(field.type)}
    if set(MAP_COLUMNS) <= known:
        columns = [index.rows[name].to_numpy()[rows] for name in MAP_COLUMNS]
        given: Floats = np.stack(columns, axis=1).astype(np.float32)
        return given
    stored = read_map(index.folder)
    return project(index, rows) if stored is None else places_of(index, stored).points


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))
