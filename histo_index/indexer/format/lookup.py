"""Find rows of a table by values of a column."""

from typing import Final

import numpy as np
import pyarrow as pa

from histo_index.arrays import Int64

MISSING: Final = -1
AMBIGUOUS: Final = -2
# Up to here scanning the column for each value beats making a hash table of the column.
FEW: Final = 8


def look_up(values: pa.Array, column: pa.ChunkedArray) -> Int64:
    """Find each value's first row in a column: int64 [n], MISSING where there is none."""
    if len(values) <= FEW:
        each = [rows_of(value.as_py() or "", column) for value in values]
        return np.array([own[0] if len(own) else MISSING for own in each], np.int64)
    import pyarrow.compute as pc  # here, because a look-up starts fast

    found = pc.index_in(values, value_set=column)
    rows: Int64 = pc.fill_null(found, MISSING).to_numpy(zero_copy_only=False).astype(np.int64)
    return rows


def rows_of(text: str, column: pa.ChunkedArray) -> Int64:
    """Find all rows of a column that hold a text: int64 [n], ascending; none for an empty text.

    It compares bytes with numpy: to import the compute functions of Arrow takes longer than this
    takes for a million rows.
    """
    wanted = np.frombuffer(text.encode(), np.uint8)
    found, first = [np.empty(0, np.int64)], 0
    width = np.int64 if pa.types.is_large_string(column.type) else np.int32
    for chunk in column.chunks if text else ():
        _, offsets, data = chunk.buffers()
        ends = np.frombuffer(offsets, width)[chunk.offset :][: len(chunk) + 1]
        letters = np.frombuffer(data or b"", np.uint8)
        rows = np.flatnonzero(np.diff(ends) == len(wanted))
        # The last letters first, because names mostly begin alike.
        for place in range(len(wanted) - 1, -1, -1):
            if not len(rows):
                break
            rows = rows[letters[ends[rows] + place] == wanted[place]]
        found.append(first + rows)
        first += len(chunk)
    return np.concatenate(found)


def look_up_unique(values: pa.Array, column: pa.ChunkedArray) -> Int64:
    """Find each value's row like `look_up`; AMBIGUOUS where the column repeats the value."""
    import pyarrow.compute as pc  # here, because a look-up by id needs none of it

    rows = look_up(values, column)
    wanted = column.filter(pc.is_in(column, value_set=values))
    counts = pc.value_counts(wanted.combine_chunks())
    repeated = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    is_repeated = pc.is_in(values, value_set=repeated).to_numpy(zero_copy_only=False)
    return np.where((rows >= 0) & is_repeated, AMBIGUOUS, rows)
