"""Find tiles of an index by the content of a file."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from histo_index.errors import InputError
from histo_index.indexer.format.lookup import FEW, rows_of
from histo_index.indexer.reader import OpenIndex

# Of an array of texts, as Arrow counts them.
_MOST_BYTES: Final = 2**31 - 1


def rows_by_content(index: OpenIndex, digests: Sequence[str]) -> dict[str, list[int]]:
    """Find all rows of each content that the index holds: SHA-256 to rows."""
    if not digests:
        return {}
    column = index.rows["sha256"]
    if len(digests) <= FEW:
        is_live = index.is_live
        every = {digest: rows_of(digest, column) for digest in digests}
        alive = {d: rows if is_live is None else rows[is_live[rows]] for d, rows in every.items()}
        return {digest: rows.tolist() for digest, rows in alive.items() if len(rows)}
    import pyarrow.compute as pc  # here, because a look-up starts fast

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
    if ends[-1] > _MOST_BYTES:
        raise InputError(f"{len(texts):,} names have {ends[-1]:,} bytes; pass fewer at a time")
    buffers = [None, pa.py_buffer(ends.astype(np.int32)), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(encoded), buffers)
