"""Read a list of pairs as columns of texts, named as its form names them: CSV, TSV or Parquet."""

import csv
import io
import re
import sys
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.csv as pa_csv

from histo_index.errors import InputError
from histo_index.indexer.inputs.tables import read_table
from histo_index.wording import counted, printable

# A field of a broken file may swallow the rest of it; no name is that long.
_LONGEST_FIELD: Final = 2**17
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
        number (from 0) to what is wrong with it; whether a header of its own named the columns.

    Raises:
        InputError: it is missing, unreadable, not UTF-8, empty, or no list of pairs.
    """
    problems: dict[int, str] = {}
    is_headed = True
    if source is not None and source.suffix.lower() == ".parquet":
        table = read_table(source)
    else:
        delimiter = "\t" if source is not None and source.suffix.lower() == ".tsv" else ","
        table, problems, is_headed = _parse(_read_bytes(source, name), delimiter, name)
    columns = {column.strip().lower(): table[column] for column in table.column_names}
    if not len(table):
        raise InputError(f"{name}: no pairs in it; expected rows `a.png,b.png`")
    if not ({"image_a", "image_b"} <= columns.keys() or "query" in columns):
        found = printable(brief(", ".join(columns)))
        raise InputError(f"{name}: no columns image_a and image_b, nor query; found {found}")
    return columns, problems, is_headed


def _read_bytes(source: Path | None, name: str) -> bytes:
    try:
        data = sys.stdin.buffer.read() if source is None else source.read_bytes()
        data.decode("utf-8")
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(f"{name}: line {line} is not UTF-8; save the list as UTF-8") from error
    # Blank lines before the header are skipped by no reader in the same way.
    return _LEADING_BLANKS.sub(b"", data.removeprefix(b"\xef\xbb\xbf"))


def _parse(data: bytes, delimiter: str, name: str) -> tuple[pa.Table, dict[int, str], bool]:
    """Parse delimited text into string columns named as the forms name them, or as its header."""
    csv.field_size_limit(_LONGEST_FIELD)
    try:
        first = next(csv.reader(io.StringIO(_first_line(data)), delimiter=delimiter), [])
    except csv.Error as error:
        raise InputError(
            f"{name}: not readable as CSV ({error}); expected `a.png,b.png`"
        ) from error
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
        return _parse_fast(data, delimiter, names, skipped), {}, skipped == 1
    except pa.ArrowInvalid:
        # The fast reader gives up at a ragged row; the plain one keeps its place and goes on.
        return *_parse_plain(data, delimiter, names, skipped), skipped == 1


def _parse_fast(data: bytes, delimiter: str, names: list[str], skipped: int) -> pa.Table:
    options = pa_csv.ReadOptions(column_names=names, skip_rows=skipped, use_threads=False)
    return pa_csv.read_csv(  # noqa: TID251
        io.BytesIO(data),
        read_options=options,
        parse_options=pa_csv.ParseOptions(delimiter=delimiter),
        convert_options=pa_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
    )


def _parse_plain(
    data: bytes, delimiter: str, names: list[str], skipped: int
) -> tuple[pa.Table, dict[int, str]]:
    problems: dict[int, str] = {}
    rows: list[list[str]] = []
    # Zero bytes end a field for some readers and not for others: they are no part of any name.
    text = io.StringIO(data.decode().replace("\0", ""), newline="")
    csv.field_size_limit(_LONGEST_FIELD)
    reader = csv.reader(text, delimiter=delimiter)
    try:
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(names):
                problems[len(rows) - skipped] = (
                    f"{counted(len(cells), 'column')}, expected {len(names)}"
                )
            rows.append((cells + [""] * len(names))[: len(names)])
    except csv.Error as error:
        problems[len(rows) - skipped] = f"not readable as CSV from here on ({error})"
        rows.append([""] * len(names))
    columns = zip(*rows[skipped:], strict=True) if rows[skipped:] else [()] * len(names)
    arrays = [pa.array(column, pa.string()) for column in columns]
    return pa.table(arrays, names=names), problems


def _first_line(data: bytes) -> str:
    for line in data.splitlines():
        if line.strip():
            return line.decode()
    return ""


def brief(text: str) -> str:
    """Cut what a message quotes: a broken file may hold anything, of any length."""
    return text if len(text) <= 200 else f"{text[:200]}…"
