"""Read which class each tile is of: from a label file, or from the index's own columns.

A label file is CSV, TSV or Parquet with a header: a column that names the tile (`path`, `image_id`
or `image`), a column of class names, and maybe one of groups. A row that cannot be used is named by
its line and left out; the file as a whole fails only if nothing of it can be used.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from histo_index.errors import InputError, printable
from histo_index.indexer.opened import AMBIGUOUS, OpenIndex
from histo_index.indexer.tables import read_table

Rows = npt.NDArray[np.int64]

LABEL_COLUMN: Final = "label"
GROUP_COLUMN: Final = "group"
_NAME_COLUMNS: Final = ("path", "image_id", "image")
_SUFFIXES: Final = (".csv", ".tsv", ".parquet")
# How spreadsheets and table libraries write a cell without a value.
_NO_VALUE: Final = frozenset(("", "nan", "na", "n/a", "null", "<na>"))
# As in pair lists: a field of a broken file may swallow the rest of it; no name is that long.
_LONGEST_FIELD: Final = 2**17
_LONGEST_QUOTE: Final = 120


@dataclass(frozen=True, kw_only=True)
class Labels:
    """The tiles of an index whose class is known.

    Attributes:
        rows: int64 [T], row of each tile in the index, each once.
        labels: class of each, [T].
        groups: what each must not be matched with, [T]; its own image id where nobody says.
        source: where the classes come from, without the folder.
        group_from: where the groups come from.
        has_groups: whether any tile has a group of which somebody told.
        problems: what could not be used, one line each, with the line of the file.
    """

    rows: Rows
    labels: list[str]
    groups: list[str]
    source: str
    group_from: str
    has_groups: bool
    problems: list[str]


@dataclass(frozen=True, kw_only=True)
class _Sheet:
    """A label table as text: columns by name, and where each of its rows stands in the file."""

    name: str
    columns: dict[str, list[str]]
    places: list[str]
    problems: list[str]


def read_labels(
    index: OpenIndex,
    source: str | Path | None = None,
    *,
    label: str | None = None,
    group: str | None = None,
) -> Labels:
    """Find the class and the group of tiles of an index.

    Args:
        index: whose tiles are labelled.
        source: a label file, or a column of the index; None is the column `label` of the index.
        label: which column of a label file holds the class; left out, `label`.
        group: which column, of the file or else of the index, holds the groups; left out, `group`
            where there is one.

    Raises:
        InputError: there is no such file or column, the file is no table in UTF-8, not one of its
            rows can be used, or all tiles are of one class.
    """
    if _is_file_name(source):
        sheet = _read_sheet(Path(str(source)))
        chosen = _require_column(sheet, label or LABEL_COLUMN)
        rows, kept, problems = _place(index, sheet, chosen)
        labels = [chosen[place].strip() for place in kept]
    else:
        column = str(source or LABEL_COLUMN)
        sheet = _own_sheet(index, column, asked=source is not None)
        values = sheet.columns[column]
        kept = [row for row, value in enumerate(values) if not _is_missing(value)]
        rows, problems = np.array(kept, np.int64), []
        labels = [values[row] for row in kept]
    _require_classes(sheet.name, labels, problems)
    groups, group_from = _groups(index, sheet, kept, rows, group)
    return Labels(
        rows=rows,
        labels=labels,
        groups=groups,
        source=sheet.name,
        group_from=group_from,
        has_groups=group_from != _BY_ITSELF,
        problems=problems,
    )


_BY_ITSELF: Final = "none: every tile is a group of its own"


def own_groups(index: OpenIndex, rows: Rows, group: str | None = None) -> list[str]:
    """Give the group of some tiles from the index's own columns, [n]; else their image ids.

    Raises:
        InputError: the column asked for is not there.
    """
    sheet = _Sheet(name="the index", columns={}, places=[], problems=[])
    return _groups(index, sheet, [], rows, group)[0]


def _is_file_name(source: str | Path | None) -> bool:
    return source is not None and (
        isinstance(source, Path) or Path(source).suffix.lower() in _SUFFIXES
    )


def _read_sheet(path: Path) -> _Sheet:
    if path.suffix.lower() == ".parquet":
        table = read_table(path)
        columns = {name: _texts(table[name]) for name in table.column_names}
        places = [f"{path.name} row {row}" for row in range(1, len(table) + 1)]
        sheet = _Sheet(name=path.name, columns=columns, places=places, problems=[])
    else:
        sheet = _parse(path)
    if not sheet.places:
        raise InputError(
            f"{path}: no rows below the header; expected `path,label` and a row a tile"
        )
    return sheet


def _parse(path: Path) -> _Sheet:
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
            problems.append(f"{path.name} line {line}: {len(row)} columns, expected {len(header)}")
        else:
            cells.append(row)
            places.append(f"{path.name} line {line}")
    if not header:
        raise InputError(f"{path}: empty; expected a header `path,label` and a row a tile")
    if problems and not cells:
        raise InputError(f"{path}: not one row can be used; the first: {problems[0]}")
    columns = dict(zip(header, map(list, zip(*cells, strict=True)), strict=True)) if cells else {}
    return _Sheet(name=path.name, columns=columns, places=places, problems=problems)


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
        raise InputError(f"{path}: column {_quote(repeated[0])} is there twice; rename one")
    return header


def _require_column(sheet: _Sheet, name: str) -> list[str]:
    if name not in sheet.columns:
        found = _quote(", ".join(sheet.columns))
        raise InputError(f"{sheet.name}: no column {_quote(name)}; found {found}")
    return sheet.columns[name]


def _own_sheet(index: OpenIndex, column: str, *, asked: bool) -> _Sheet:
    if column not in index.rows.column_names:
        found = ", ".join(name for name in index.rows.column_names if name != "stem")
        hint = "pass --labels FILE, or the name of a column" if not asked else "pass another"
        raise InputError(
            f"{index.folder}: no column {_quote(column)} in the index; "
            f"found {_quote(found)}; {hint}"
        )
    name = f"column {column} of the index"
    columns = {column: _texts(index.rows[column])}
    return _Sheet(name=name, columns=columns, places=[], problems=[])


def _place(
    index: OpenIndex, sheet: _Sheet, labels: Sequence[str]
) -> tuple[Rows, list[int], list[str]]:
    """Find each row's tile: rows of the index, places in the sheet, and what went wrong."""
    by = next((name for name in _NAME_COLUMNS if name in sheet.columns), None)
    if by is None:
        raise InputError(
            f"{sheet.name}: no column {', '.join(_NAME_COLUMNS[:-1])} or {_NAME_COLUMNS[-1]}; "
            f"found {_quote(', '.join(sheet.columns))}"
        )
    names = [name.strip() for name in sheet.columns[by]]
    found = index.find_names(pa.array(names, pa.string())).tolist()
    problems = list(sheet.problems)
    first: dict[int, int] = {}
    for place, (name, row) in enumerate(zip(names, found, strict=True)):
        why = _objection(name, row, labels[place])
        if why is None and row in first:
            other = labels[first[row]].strip()
            if other == labels[place].strip():
                continue
            why = (
                f"{_quote(name)} is {_quote(labels[place].strip())} here and {_quote(other)} at "
                f"{sheet.places[first[row]]}"
            )
        if why is None:
            first[row] = place
        else:
            problems.append(f"{sheet.places[place]}: {why}")
    return np.array(list(first), np.int64), list(first.values()), problems


def _objection(name: str, row: int, label: str) -> str | None:
    if not name:
        return "no tile named"
    if row == AMBIGUOUS:
        return f"{_quote(name)} fits several tiles; name it by its path or image id"
    if row < 0:
        return f"{_quote(name)} is not in the index"
    return f"no class, but {_quote(label)}" if _is_missing(label) else None


def _require_classes(name: str, labels: Sequence[str], problems: Sequence[str]) -> None:
    if not labels:
        first = f"; the first: {problems[0]}" if problems else ""
        raise InputError(f"{name}: not one tile with a class{first}")
    if len(set(labels)) < 2:
        raise InputError(
            f"{name}: all {len(labels)} usable tiles are of class {_quote(labels[0])}; "
            "expected two classes or more"
        )


def _groups(
    index: OpenIndex, sheet: _Sheet, kept: Sequence[int], rows: Rows, group: str | None
) -> tuple[list[str], str]:
    column = group or GROUP_COLUMN
    ids = index.rows["image_id"].take(pa.array(rows)).to_pylist()
    if column in sheet.columns and sheet.places:
        values = [sheet.columns[column][place].strip() for place in kept]
        origin = f"column {column} of {sheet.name}"
    elif column in index.rows.column_names:
        values = _texts(index.rows[column].take(pa.array(rows)))
        origin = f"column {column} of the index"
    elif group is not None:
        raise InputError(
            f"no column {_quote(group)}, neither in {sheet.name} nor in the index; "
            "pass another --group"
        )
    else:
        return ids, _BY_ITSELF
    # A tile without a group is one by itself; two of them have nothing known in common.
    return [i if _is_missing(v) else v for v, i in zip(values, ids, strict=True)], origin


def _texts(column: pa.ChunkedArray) -> list[str]:
    return ["" if value is None else str(value) for value in column.to_pylist()]


def _is_missing(value: str) -> bool:
    return value.strip().lower() in _NO_VALUE


def _quote(text: str) -> str:
    """Write what a file holds on one line of bearable length."""
    cut = text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}…"
    return printable(cut) if cut.strip() else "an empty cell"
