"""Read tables written by users: CSV, TSV or Parquet.

`read_table` reads a whole table with a header and typed columns, or raises. `read_text` and
`split_rows` read CSV row by row, so that a caller can report the rows that cannot be used.
"""

import csv
import io
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from histo_index.errors import InputError
from histo_index.indexer.inputs.columns import plain_columns, require_distinct

# Names of things, never quantities: "007" must not become 7.
_NAMES: Final = frozenset(("path", "image_id"))
_DECIMAL: Final = r"^-?(0|[1-9]\d*)(\.\d+)?$"
# How pyarrow quotes a row with too many or too few cells.
_ROW: Final = re.compile(r"(Expected \d+ columns, got \d+):.*")
# What a float64 keeps of any decimal number.
_FLOAT_DIGITS: Final = 15
# Numbered paths were seen to come to 11 rows a byte, sorted pairs to 13.
_FREE_ROWS: Final = 1_000_000
_ROWS_PER_BYTE: Final = 128
# A field of a broken file may contain the rest of it; no name is that long.
_LONGEST_FIELD: Final = 2**17


def read_table(path: Path) -> pa.Table:
    """Read a table with a header.

    In CSV and TSV a column becomes numeric only if each of its values is a plain decimal number
    that a number keeps: no leading zero or plus, no exponent, at most 15 digits with a point.
    Empty cells are null in numeric columns. `path` and `image_id` stay text.

    Raises:
        InputError: the file is missing, unreadable, or not the table its suffix promises.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            return _read_parquet(path)
        if suffix in (".csv", ".tsv"):
            return _read_csv(path)
    except InputError:
        raise
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())[:200]
        raise InputError(f"{path}: cannot be read ({reason})") from error
    except (pa.ArrowException, csv.Error, ValueError) as error:
        # Not the cells of a row: they may be private.
        reason = _ROW.sub(r"\1", " ".join(str(error).split()))[:200]
        raise InputError(f"{path}: not a usable {suffix[1:]} table ({reason})") from error
    raise InputError(f"{path}: unknown kind of table; pass .csv, .tsv or .parquet")


def _read_csv(path: Path) -> pa.Table:
    data = read_text(path, str(path))
    delimiter = delimiter_of(path, data.split(b"\n", 1)[0])
    with open(path, encoding="utf-8-sig", newline="") as file:
        names = next(csv.reader(file, delimiter=delimiter), [])
    if not names:
        raise ValueError("the first line, which names the columns, is empty")
    names = _usual_names(names)
    require_distinct(names)
    with open(path, "rb") as file:
        table = parse_texts(file, delimiter, names, newlines_in_values=True)
    columns = zip(table.column_names, table.columns, strict=True)
    return pa.table(
        {name: column if name in _NAMES else _as_number(column) for name, column in columns}
    )


def _usual_names(names: list[str]) -> list[str]:
    """Spell `Path` and `Image_ID` as the index does, where no other column is called so."""
    usual = {name: name.strip().lower() for name in names}
    return [
        usual[name] if usual[name] in _NAMES and usual[name] not in names else name
        for name in names
    ]


def delimiter_of(path: Path | None, first_line: bytes = b"") -> str:
    """Return the delimiter of a table: a tab for `.tsv`, else the one in its first line.

    Spreadsheets of many countries write semicolons or tabs to `.csv`. A line with a comma has
    commas.

    Args:
        path: the file; None is standard input.
        first_line: the first line that is not blank.
    """
    if path is not None and path.suffix.lower() == ".tsv":
        return "\t"
    found = [mark for mark in (",", ";", "\t") if mark.encode() in first_line]
    return found[0] if found else ","


def parse_texts(
    data: IO[bytes],
    delimiter: str,
    names: list[str],
    *,
    is_headed: bool = True,
    newlines_in_values: bool = False,
) -> pa.Table:
    """Parse CSV into string columns.

    Args:
        data: the file.
        delimiter: between cells.
        names: of the columns, [C].
        is_headed: whether the first row is a header, to be replaced by the names.
        newlines_in_values: whether quoted cells may contain line ends.

    Raises:
        pa.ArrowInvalid: a row has another number of cells, or is not UTF-8.
    """
    return pa_csv.read_csv(  # noqa: TID251
        data,
        read_options=pa_csv.ReadOptions(
            column_names=names, skip_rows_after_names=int(is_headed), use_threads=False
        ),
        parse_options=pa_csv.ParseOptions(
            delimiter=delimiter, newlines_in_values=newlines_in_values
        ),
        convert_options=pa_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
        ),
    )


def read_text(source: Path | None, name: str) -> bytes:
    """Read a text file in UTF-8, without its byte order mark.

    Args:
        source: the file; None is standard input.
        name: how messages call it.

    Raises:
        InputError: it cannot be read, or is not UTF-8.
    """
    try:
        data = sys.stdin.buffer.read() if source is None else source.read_bytes()
        data.decode("utf-8")
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(
            f"{name}: line {line} is not UTF-8; save the file as UTF-8, in Excel as `CSV UTF-8`"
        ) from error
    return data.removeprefix(b"\xef\xbb\xbf")


def split_rows(data: bytes, delimiter: str) -> Iterator[tuple[int, list[str], str | None]]:
    """Split CSV in UTF-8 into rows, as far as it can be read.

    Yields:
        The line that a row ends on, its cells, and None; where the text stops being readable, no
        cells and the reason, as the last row. Empty lines are no rows.
    """
    csv.field_size_limit(_LONGEST_FIELD)
    # Zero bytes end a field for some readers and not for others: no name contains them.
    text = io.StringIO(data.decode().replace("\0", ""), newline="")
    reader = csv.reader(text, delimiter=delimiter)
    try:
        for cells in reader:
            if cells:
                yield reader.line_num, cells, None
    except csv.Error as error:
        yield reader.line_num, [], f"not readable as CSV from here on ({error})"


def _as_number(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Convert a text column to numbers if no value changes."""
    filled = pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
    if filled.null_count == len(filled):
        return column
    if not pc.all(pc.match_substring_regex(filled, _DECIMAL)).as_py():
        return column
    if not pc.any(pc.match_substring(filled, ".")).as_py():
        # The way there and back refuses -0 and what is too large.
        try:
            numbers = filled.cast(pa.int64())
        except pa.ArrowInvalid:
            return column
        return numbers if numbers.cast(pa.string()).equals(filled) else column
    digits = pc.utf8_length(pc.replace_substring_regex(filled, r"\D", ""))
    return filled.cast(pa.float64()) if pc.max(digits).as_py() <= _FLOAT_DIGITS else column


def _read_parquet(path: Path) -> pa.Table:
    import pyarrow.parquet as pq  # here, because looking up a tile needs no Parquet

    # pyarrow takes some paths for addresses, and cannot take all bytes that a path may hold.
    with open(path, "rb") as file:
        parquet = pq.ParquetFile(file)
        rows, size = parquet.metadata.num_rows, os.fstat(file.fileno()).st_size
        # A few bytes may say a billion times the same; rows of ours differ in their paths or pairs.
        if rows > _FREE_ROWS + _ROWS_PER_BYTE * size:
            raise ValueError(f"it says that its {size:,} bytes hold {rows:,} rows")
        table = parquet.read(use_threads=False).replace_schema_metadata(None)
    return plain_columns(table)
