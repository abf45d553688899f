"""Marks as tables, to export them: their columns are those that `calibrate` and others read."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from histo_index.indexer.reader import OpenIndex
from histo_index.search.marks.collect import collect
from histo_index.search.marks.file import read_marks
from histo_index.search.marks.record import SAME, SKIPPED, Mark

_PAIRS = pa.schema(
    [
        ("image_a", pa.string()), ("image_b", pa.string()), ("label", pa.int8()),
        ("drawn", pa.string()), ("selection", pa.float64()), ("user", pa.string()),
        ("time", pa.string()),
    ]
)  # fmt: skip
_LABELS = pa.schema([(name, pa.string()) for name in ("image_id", "label", "user", "time")])


def pair_table(index: OpenIndex) -> pa.Table:
    """Return the marked pairs of an index, a row each; a skipped pair has no label."""
    marks = collect(read_marks(index.folder)).pairs
    names = _names(index, [tile for mark in marks for tile in (mark.a, mark.b)])
    labels = [None if mark.answer == SKIPPED else int(mark.answer == SAME) for mark in marks]
    columns = [names[::2], names[1::2], labels, *_columns(marks, "drawn", "selection")]
    return pa.table([*columns, *_columns(marks, "user", "time")], schema=_PAIRS)


def label_table(index: OpenIndex) -> pa.Table:
    """Return the labels that users gave to tiles of an index, a row each."""
    marks = collect(read_marks(index.folder)).labels
    names = _names(index, [mark.tile for mark in marks])
    return pa.table([names, *_columns(marks, "label", "user", "time")], schema=_LABELS)


def _columns(marks: Sequence[Mark], *names: str) -> list[list[Any]]:
    return [[getattr(mark, name) for mark in marks] for name in names]


def _names(index: OpenIndex, contents: Sequence[str]) -> list[str]:
    """Return the image id of each tile; its SHA-256 if it is no longer in the index."""
    digests = pa.array(contents, pa.string())
    rows = index.find_contents(digests)
    known = index.rows["image_id"].take(pa.array(rows, mask=rows < 0))
    names: list[str] = pc.coalesce(known, digests).to_pylist()
    return names
