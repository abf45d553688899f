"""Label files as text columns; messages name a row by its line."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa

from histo_index.errors import InputError
from histo_index.indexer.inputs.tables import delimiter_of, read_table, read_text, split_rows
from histo_index.wording import counted, printable

SUFFIXES: Final = (".csv", ".tsv", ".parquet")
_LONGEST_QUOTE: Final = 120


@dataclass(frozen=True, kw_only=True)
class LabelTable:
    """A table as text.

    Attributes:
        name: of the file, without its folder.
        columns: name to values.
        origins: file and line of each row; empty where rows are those of the index.
        problems: what could not be used, one line each.
    """

    name: str
    columns: dict[str, list[str]]
    origins: list[str]
    problems: list[str]


def read_label_table(path: Path) -> LabelTable:
    """Read CSV, TSV or Parquet with a header; a row that cannot be used becomes a problem.

    Raises:
        InputError: the file cannot be read, is not UTF-8, or has no rows.
    """
    if path.suffix.lower() == ".parquet":
        stored = read_table(path)
        columns = {name: texts_of(stored[name]) for name in stored.column_names}
        origins = [f"{path.name} row {row}" for row in range(1, len(stored) + 1)]
        table = LabelTable(name=path.name, columns=columns, origins=origins, problems=[])
    else:
        table = _parse(path)
    if not table.origins:
        raise InputError(
            f"{path}: no rows below the header; expected `path,label` and a row a tile"
        )
    return table


def _parse(path: Path) -> LabelTable:
    header: list[str] = []
    cells: list[list[str]] = []
    origins: list[str] = []
    problems: list[str] = []
    data = read_text(path, str(path))
    first_line = next((line for line in data.splitlines() if line.strip()), b"")
    for line, row, problem in split_rows(data, delimiter_of(path, first_line)):
        if problem is not None:
            problems.append(f"{path.name} line {line}: {problem}")
        elif not any(cell.strip() for cell in row):
            continue
        elif not header:
            header = _require_header(row, path)
        elif len(row) != len(header):
            problems.append(
                f"{path.name} line {line}: {counted(len(row), 'column')}, expected {len(header)}"
            )
        else:
            cells.append(row)
            origins.append(f"{path.name} line {line}")
    if not header:
        raise InputError(f"{path}: empty; expected a header `path,label` and a row a tile")
    if problems and not cells:
        raise InputError(f"{path}: not one row can be used; the first: {problems[0]}")
    columns = dict(zip(header, map(list, zip(*cells, strict=True)), strict=True)) if cells else {}
    return LabelTable(name=path.name, columns=columns, origins=origins, problems=problems)


def _require_header(row: list[str], path: Path) -> list[str]:
    header = [cell.strip() for cell in row]
    repeated = [name for name, times in Counter(header).items() if times > 1]
    if repeated:
        raise InputError(f"{path}: column {quoted(repeated[0])} is there twice; rename one")
    return header


def require_column(table: LabelTable, name: str) -> list[str]:
    """Return a column.

    Raises:
        InputError: there is no such column; the message lists the columns.
    """
    alike = [column for column in table.columns if column.lower() == name.lower()]
    if name not in table.columns and len(alike) == 1:
        return table.columns[alike[0]]
    if name not in table.columns:
        found = quoted(", ".join(table.columns))
        raise InputError(f"{table.name}: no column {quoted(name)}; found {found}")
    return table.columns[name]


def texts_of(column: pa.ChunkedArray) -> list[str]:
    """Convert values of any type to text; null becomes empty."""
    return ["" if value is None else str(value) for value in column.to_pylist()]


def quoted(text: str) -> str:
    """Shorten text from a file to one line for a message."""
    cut = text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}…"
    return printable(cut) if cut.strip() else "an empty cell"
