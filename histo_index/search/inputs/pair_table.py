"""Read a list of pairs as columns of texts, named as its form names them: CSV, TSV or Parquet."""

import io
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from histo_index.errors import InputError
from histo_index.indexer.inputs.tables import (
    delimiter_of,
    parse_texts,
    read_table,
    read_text,
    split_rows,
)
from histo_index.wording import counted, printable

# The columns of a list of pairs, in lower case.
_COLUMNS: Final = ("image_a", "image_b", "query", "prediction", "label")
# How table libraries print a missing value.
_MISSING: Final = frozenset(("None", "nan", "NaN", "<NA>", "NaT"))
_LEADING_BLANKS: Final = re.compile(rb"\A(?:[ \t]*\r?\n)+")


def read_columns(
    source: Path | None, name: str
) -> tuple[dict[str, pa.ChunkedArray], dict[int, str], bool]:
    """Read a list of pairs.

    Args:
        source: a file; None is CSV from standard input.
        name: how messages call it.

    Returns:
        Columns by their names in lower case, `image_a` and `image_b` or `query` among them; row
        number (from 0) to what is wrong with it; whether its own header named the columns.

    Raises:
        InputError: it is missing, unreadable, not UTF-8, empty, or no list of pairs.
    """
    problems: dict[int, str] = {}
    is_headed = True
    if source is not None and source.suffix.lower() == ".parquet":
        table = read_table(source)
    else:
        # Readers differ in how they skip blank lines before the header.
        data = _LEADING_BLANKS.sub(b"", read_text(source, name))
        table, problems, is_headed = _parse(data, delimiter_of(source, _first_line(data)), name)
    columns = {column.strip().lower(): table[column] for column in table.column_names}
    _require_pairs(columns, name)
    return columns, problems, is_headed


def columns_of_table(table: Any) -> dict[str, pa.ChunkedArray]:
    """Read the columns of a pandas or Polars DataFrame or an Arrow table as texts.

    Args:
        table: with columns `image_a` and `image_b`, or `query`; and maybe labels.

    Returns:
        Columns by their names in lower case; a missing value is an empty text.

    Raises:
        InputError: it has no such columns, or no rows.
    """
    names = getattr(table, "column_names", None) or list(table.columns)
    columns = {str(name).strip().lower(): name for name in names}
    found: dict[str, pa.ChunkedArray] = {
        name: _texts(table[columns[name]]) for name in _COLUMNS if name in columns
    }
    _require_pairs(found, "the table of pairs", known=columns)
    return found


def _texts(column: Any) -> pa.ChunkedArray:
    values = column.to_pylist() if hasattr(column, "to_pylist") else list(column)
    texts = ["" if str(value) in _MISSING else str(value) for value in values]
    return pa.chunked_array([pa.array(texts, pa.string())])


def _require_pairs(
    columns: Mapping[str, pa.ChunkedArray], name: str, *, known: Iterable[str] | None = None
) -> None:
    if not ({"image_a", "image_b"} <= columns.keys() or "query" in columns):
        found = printable(brief(", ".join(columns if known is None else known)))
        raise InputError(f"{name}: no columns image_a and image_b, nor query; found {found}")
    if not len(next(iter(columns.values()))):
        raise InputError(f"{name}: no pairs in it; expected rows `a.png,b.png`")


def _parse(data: bytes, delimiter: str, name: str) -> tuple[pa.Table, dict[int, str], bool]:
    """Parse delimited text into string columns named as the forms name them, or as its header."""
    _, first, problem = next(split_rows(_first_line(data), delimiter), (0, [], None))
    if problem is not None:
        raise InputError(f"{name}: {problem}; expected `a.png,b.png`")
    header = [cell.strip().lower() for cell in first]
    if {"image_a", "image_b"} <= set(header) or "query" in header:
        names, skipped = header, 1
    elif 2 <= len(first) <= 3:
        names, skipped = ["image_a", "image_b", "label"][: len(first)], 0
        if len(first) == 2 and first[1].strip() in ("0", "1") and "_" in first[0]:
            names = ["query", "prediction"]
    elif len(first) == 1 and "_" in first[0]:
        names, skipped = ["query"], 0
    else:
        raise InputError(
            f"{name}: {counted(len(first), 'column')} and no header; "
            "expected `a.png,b.png[,label]`, or a header `image_a,image_b[,label]` or "
            "`query[,prediction]`"
        )
    if len(set(names)) < len(names):
        repeated = printable(", ".join(names))
        raise InputError(f"{name}: a column name is there twice: {brief(repeated)}")
    try:
        table = parse_texts(io.BytesIO(data), delimiter, names, is_headed=skipped == 1)
        return table, {}, skipped == 1
    except pa.ArrowInvalid:
        # The fast reader stops at a ragged row; the plain one marks it and continues.
        return *_parse_plain(data, delimiter, names, skipped), skipped == 1


def _parse_plain(
    data: bytes, delimiter: str, names: list[str], skipped: int
) -> tuple[pa.Table, dict[int, str]]:
    problems: dict[int, str] = {}
    rows: list[list[str]] = []
    for _, cells, problem in split_rows(data, delimiter):
        if problem is not None:
            problems[len(rows) - skipped] = problem
        elif len(cells) != len(names):
            found = counted(len(cells), "column")
            problems[len(rows) - skipped] = f"{found}, expected {len(names)}"
        rows.append((cells + [""] * len(names))[: len(names)])
    columns = zip(*rows[skipped:], strict=True) if rows[skipped:] else [()] * len(names)
    arrays = [pa.array(column, pa.string()) for column in columns]
    return pa.table(arrays, names=names), problems


def _first_line(data: bytes) -> bytes:
    return next((line for line in data.splitlines() if line.strip()), b"")


def brief(text: str) -> str:
    """Cut what a message quotes: a broken file may hold anything, of any length."""
    return text if len(text) <= 200 else f"{text[:200]}…"
