"""Marks as tables, to export them: their columns are those that `calibrate` and others read."""

from collections.abc import Sequence

import pyarrow as pa

from histo_index.indexer.reader import OpenIndex
from histo_index.search.marks.collect import collect
from histo_index.search.marks.file import read_marks
from histo_index.search.marks.record import SAME, SKIPPED

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
    rows = []
    for mark in collect(read_marks(index.folder)).pairs:
        label = None if mark.answer == SKIPPED else int(mark.answer == SAME)
        ends = (_name(index, mark.a), _name(index, mark.b))
        rows.append((*ends, label, mark.drawn, mark.selection, mark.user, mark.time))
    return _table(rows, _PAIRS)


def label_table(index: OpenIndex) -> pa.Table:
    """Return the labels that users gave to tiles of an index, a row each."""
    marks = collect(read_marks(index.folder)).labels
    rows = [(_name(index, mark.tile), mark.label, mark.user, mark.time) for mark in marks]
    return _table(rows, _LABELS)


def _table(rows: Sequence[tuple[object, ...]], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist(
        [dict(zip(schema.names, row, strict=True)) for row in rows], schema=schema
    )


def _name(index: OpenIndex, sha256: str) -> str:
    """Return the image id of a tile; its SHA-256 if it is no longer in the index."""
    row = int(index.find_contents(pa.array([sha256], pa.string()))[0])
    return str(index.rows["image_id"][row].as_py()) if row >= 0 else sha256
