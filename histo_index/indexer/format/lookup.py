"""Find rows of a table by values of a column."""

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from histo_index.arrays import Int64

MISSING: Final = -1
AMBIGUOUS: Final = -2
# Up to here scanning the column for each value beats making a hash table of the column.
_FEW: Final = 8


def look_up(values: pa.Array, column: pa.ChunkedArray) -> Int64:
    """Find each value's first row in a column: int64 [n], MISSING where there is none."""
    if len(values) <= _FEW:
        return np.array([pc.index(column, value).as_py() for value in values], np.int64)
    found = pc.index_in(values, value_set=column)
    rows: Int64 = pc.fill_null(found, MISSING).to_numpy(zero_copy_only=False).astype(np.int64)
    return rows


def look_up_unique(values: pa.Array, column: pa.ChunkedArray) -> Int64:
    """Find each value's row like `look_up`; AMBIGUOUS where the column repeats the value."""
    rows = look_up(values, column)
    wanted = column.filter(pc.is_in(column, value_set=values))
    counts = pc.value_counts(wanted.combine_chunks())
    repeated = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    is_repeated = pc.is_in(values, value_set=repeated).to_numpy(zero_copy_only=False)
    return np.where((rows >= 0) & is_repeated, AMBIGUOUS, rows)
