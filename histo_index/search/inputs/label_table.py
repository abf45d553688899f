"""A table that a user wrote, as text: label files, whose rows are named by their lines."""

import csv
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from histo_index.errors import InputError
from histo_index.indexer.inputs.tables import read_table
from histo_index.wording import counted, printable

SUFFIXES: Final = (".csv", ".tsv", ".parquet")
# As in pair lists: a field of a broken file may swallow the rest of it; no name is that long.
_LONGEST_FIELD: Final = 2**17
_LONGEST_QUOTE: Final = 120


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A table as text.

    Attributes:
        name: of the file, without its folder.
        columns: name to values.
        places: where each row stands in the file; empty where rows are those of the index.
        problems: what could not be used, one line each.
    """

    name: str
    columns: dict[str, list[str]]
    places: list[str]
    problems: list[str]


def read_sheet(path: Path) -> Sheet:
    """Read CSV, TSV or Parquet with a header; rows that cannot be used become problems.

    Raises:
        InputError: the file cannot be read, is not UTF-8, or has no rows.
    """
    if path.suffix.lower() == ".parquet":
        table = read_table(path)
        columns = {name: texts_of(table[name]) for name in table.column_names}
        places = [f"{path.name} row {row}" for row in range(1, len(table) + 1)]
        sheet = Sheet(name=path.name, columns=columns, places=places, problems=[])
    else:
        sheet = _parse(path)
    if not sheet.places:
        raise InputError(
            f"{path}: no rows below the header; expected `path,label` and a row a tile"
        )
    return sheet


def _parse(path: Path) -> Sheet:
    text = _decode(path)
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    header: list[str] = []
    cells: list[list[str]] = []
    places: list[str] = []
    problems: list[str] = []
    for line, row in _lines(reader, path, problems):
        if not header:
            header = _require_header(row, path)
        elif len(row) != len(header):
            problems.append(
                f"{path.name} line {line}: {counted(len(row), 'column')}, expected {len(header)}"
            )
        else:
            cells.append(row)
            places.append(f"{path.name} line {line}")
    if not header:
        raise InputError(f"{path}: empty; expected a header `path,label` and a row a tile")
    if problems and not cells:
        raise InputError(f"{path}: not one row can be used; the first: {problems[0]}")
    columns = dict(zip(header, map(list, zip(*cells, strict=True)), strict=True)) if cells else {}
    return Sheet(name=path.name, columns=columns, places=places, problems=problems)


def _lines(reader: Any, path: Path, problems: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Give the rows that hold anything, with the line each ends on."""
    csv.field_size_limit(_LONGEST_FIELD)
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problems.append(f"{path.name} line {reader.line_num}: not readable as CSV ({error})")
            return
        if any(cell.strip() for cell in row):
            yield reader.line_num, row


def _decode(path: Path) -> str:
    try:
        data = path.read_bytes()
        # Zero bytes end a field for some readers and not for others: they are no part of any name.
        return data.decode("utf-8-sig").replace("\0", "")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(f"{path}: line {line} is not UTF-8; save the file as UTF-8") from error


def _require_header(row: list[str], path: Path) -> list[str]:
    header = [cell.strip() for cell in row]
    repeated = [name for name, times in Counter(header).items() if times > 1]
    if repeated:
        raise InputError(f"{path}: column {quoted(repeated[0])} is there twice; rename one")
    return header


def require_column(sheet: Sheet, name: str) -> list[str]:
    """Give a column; one that is not there is an error that names those that are."""
    if name not in sheet.columns:
        found = quoted(", ".join(sheet.columns))
        raise InputError(f"{sheet.name}: no column {quoted(name)}; found {found}")
    return sheet.columns[name]


def texts_of(column: pa.ChunkedArray) -> list[str]:
    """Write values of any type as text; null is empty."""
    return ["" if value is None else str(value) for value in column.to_pylist()]


def quoted(text: str) -> str:
    """Write what a file holds on one line of bearable length."""
    cut = text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}…"
    return printable(cut) if cut.strip() else "an empty cell"
