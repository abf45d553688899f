"""Find tiles of an index by the content of a file."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from histo_index.indexer.reader import OpenIndex


def rows_by_content(index: OpenIndex, digests: Sequence[str]) -> dict[str, list[int]]:
    """Find all rows of each content that the index holds: SHA-256 to rows."""
    if not digests:
        return {}
    column = index.rows["sha256"]
    rows = pc.indices_nonzero(pc.is_in(column, value_set=make_strings(digests)))
    if (is_live := index.is_live) is not None:
        rows = rows.filter(is_live[rows.to_numpy()])
    found: dict[str, list[int]] = {}
    for digest, row in zip(column.take(rows).to_pylist(), rows.to_pylist(), strict=True):
        found.setdefault(digest, []).append(row)
    return found


def nearest_name(index: OpenIndex, rows: Sequence[int], path: Path) -> int:
    """Select, of rows with equal content, the one whose path shares most of the file's end."""
    if len(rows) == 1:
        return rows[0]
    parts = path.resolve().parts[::-1]

    def agreement(row: int) -> int:
        other = Path(index.rows["path"][row].as_py()).parts[::-1]
        pairs = zip(parts, other, strict=False)
        return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))

    return max(rows, key=agreement)


def make_strings(texts: Sequence[str]) -> pa.Array:
    """Make an array as `pa.array` does, without the pandas that it imports where installed."""
    encoded = [text.encode() for text in texts]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.large_string(), len(encoded), buffers).cast(pa.string())
