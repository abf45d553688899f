"""Read the class of each tile: from a label file, or from a column of the index.

A label file is CSV, TSV or Parquet with a header: a column that names the tile (`path`, `image_id`
or `image`), a column of class names, and maybe one of groups. A row that cannot be used is named by
its line and left out; the file as a whole fails only if nothing of it can be used.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from histo_index.arrays import Int64
from histo_index.errors import InputError
from histo_index.indexer.format.lookup import AMBIGUOUS
from histo_index.indexer.private import private_among, refusal
from histo_index.indexer.reader import OpenIndex
from histo_index.search.inputs.label_table import (
    SUFFIXES,
    LabelTable,
    quoted,
    read_label_table,
    require_column,
    texts_of,
)
from histo_index.wording import counted

LABEL_COLUMN: Final = "label"
GROUP_COLUMN: Final = "group"
# Groups the tiles of an index of several slides that has no column of groups.
SLIDE_COLUMN: Final = "slide_id"
_NAME_COLUMNS: Final = ("path", "image_id", "image")
# How spreadtables and table libraries write a cell without a value.
_NO_VALUE: Final = frozenset(("", "nan", "na", "n/a", "null", "<na>"))


@dataclass(frozen=True, kw_only=True)
class Labels:
    """The tiles of an index whose class is known.

    Attributes:
        rows: int64 [T], row of each tile in the index, each once.
        labels: class of each, [T].
        groups: what each must not be matched with, [T]; its own image id without a group.
        source: where the classes come from, without the folder.
        group_from: where the groups come from.
        has_groups: whether groups were given.
        problems: what could not be used, one line each, with the line of the file.
        label_column: column of the index that the classes come from; None if from a file.
        group_column: column of the index that the groups come from; None if from elsewhere.
        file_group: column of the label file that they come from; None if from elsewhere.
    """

    rows: Int64
    labels: list[str]
    groups: list[str]
    source: str
    group_from: str
    has_groups: bool
    problems: list[str]
    label_column: str | None = None
    group_column: str | None = None
    file_group: str | None = None


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
            where there is one, else the slides if there are several.

    Raises:
        InputError: there is no such file or column, the file is no table in UTF-8, not one of its
            rows can be used, or all tiles are of one class.
    """
    if _is_file_name(source):
        table = read_label_table(Path(str(source)))
        chosen = require_column(table, label or LABEL_COLUMN)
        rows, kept, problems = _find_tiles(index, table, chosen)
        labels = [chosen[line].strip() for line in kept]
    else:
        own = str(source or LABEL_COLUMN)
        table = _own_column(index, own, asked=source is not None)
        values = table.columns[own]
        kept = [row for row in index.live_rows().tolist() if not is_missing(values[row])]
        rows, problems = np.array(kept, np.int64), []
        labels = [values[row] for row in kept]
    _require_classes(table.name, labels, problems)
    groups, group_from = _groups(index, table, kept, rows, group)
    has_groups, is_own = group_from != _BY_ITSELF, group_from.endswith(_OF_INDEX)
    column = own_group_column(index, group) if is_own else group or GROUP_COLUMN
    return Labels(
        rows=rows,
        labels=labels,
        groups=groups,
        source=table.name,
        group_from=group_from,
        has_groups=has_groups,
        problems=problems,
        label_column=None if table.origins else next(iter(table.columns)),
        group_column=column if is_own else None,
        file_group=column if has_groups and not is_own else None,
    )


_OF_INDEX: Final = " of the index"
_BY_ITSELF: Final = "none: each tile is its own group"


def has_own_groups(index: OpenIndex, group: str | None = None) -> bool:
    """Return whether the index has a column of groups: the one asked for, else `group` or slides.

    Raises:
        InputError: it is private, and the index was opened without private columns.
    """
    column = own_group_column(index, group)
    _require_shown(index, column)
    return column in index.rows.column_names


def own_group_column(index: OpenIndex, group: str | None = None) -> str:
    """Return the column of the index that holds the groups, if it is there.

    It is the one asked for, else `group`; without that the slide, of an index of several slides.
    """
    names = index.rows.column_names
    has_slides = SLIDE_COLUMN in names and GROUP_COLUMN not in (*names, *index.hidden)
    # Tiles of one slide would all be of one group, and nothing could be compared.
    is_usual = not (has_slides and len(index.rows[SLIDE_COLUMN].unique()) > 1)
    return group or (GROUP_COLUMN if is_usual else SLIDE_COLUMN)


def own_groups(index: OpenIndex, rows: Int64, group: str | None = None) -> list[str]:
    """Return the group of some tiles from the columns of the index, [n]; else their image ids.

    Raises:
        InputError: the column asked for is not there.
    """
    table = LabelTable(name="the index", columns={}, origins=[], problems=[])
    return _groups(index, table, [], rows, group)[0]


def _is_file_name(source: str | Path | None) -> bool:
    return source is not None and (
        isinstance(source, Path) or Path(source).suffix.lower() in SUFFIXES
    )


def _require_shown(index: OpenIndex, column: str) -> None:
    if private_among([column], index.hidden):
        raise refusal(column)


def _own_column(index: OpenIndex, column: str, *, asked: bool) -> LabelTable:
    _require_shown(index, column)
    if column not in index.rows.column_names:
        found = ", ".join(name for name in index.rows.column_names if name != "stem")
        hint = "pass --labels FILE, or the name of a column" if not asked else "pass another"
        raise InputError(
            f"{index.folder}: no column {quoted(column)} in the index; "
            f"found {quoted(found)}; {hint}"
        )
    name = f"column {column} of the index"
    columns = {column: texts_of(index.rows[column])}
    return LabelTable(name=name, columns=columns, origins=[], problems=[])


def _find_tiles(
    index: OpenIndex, table: LabelTable, labels: Sequence[str]
) -> tuple[Int64, list[int], list[str]]:
    """Match rows to tiles: rows of the index, rows of the table, and problems."""
    lowered = {name.lower(): name for name in reversed(table.columns)}
    by = next((lowered[name] for name in _NAME_COLUMNS if name in lowered), None)
    if by is None:
        raise InputError(
            f"{table.name}: no column {', '.join(_NAME_COLUMNS[:-1])} or {_NAME_COLUMNS[-1]}; "
            f"found {quoted(', '.join(table.columns))}"
        )
    names = [name.strip() for name in table.columns[by]]
    found = index.find_names(pa.array(names, pa.string())).tolist()
    problems = list(table.problems)
    first: dict[int, int] = {}
    for line, (name, row) in enumerate(zip(names, found, strict=True)):
        why = _objection(name, row, labels[line])
        if why is None and row in first:
            other = labels[first[row]].strip()
            if other == labels[line].strip():
                continue
            why = (
                f"{quoted(name)} is {quoted(labels[line].strip())} here and {quoted(other)} at "
                f"{table.origins[first[row]]}"
            )
        if why is None:
            first[row] = line
        else:
            problems.append(f"{table.origins[line]}: {why}")
    return np.array(list(first), np.int64), list(first.values()), problems


def _objection(name: str, row: int, label: str) -> str | None:
    if not name:
        return "no tile named"
    if row == AMBIGUOUS:
        return f"{quoted(name)} fits several tiles; name it by its path or image id"
    if row < 0:
        return f"{quoted(name)} is not in the index"
    return f"no class, but {quoted(label)}" if is_missing(label) else None


def _require_classes(name: str, labels: Sequence[str], problems: Sequence[str]) -> None:
    if not labels:
        first = f"; the first: {problems[0]}" if problems else ""
        raise InputError(f"{name}: not one tile with a class{first}")
    if len(set(labels)) < 2:
        raise InputError(
            f"{name}: class {quoted(labels[0])} only, of {counted(len(labels), 'usable tile')}; "
            f"expected two classes or more{first_unusable(problems)}"
        )


def first_unusable(problems: Sequence[str]) -> str:
    """Name the first row that was left out, to end a message with; nothing if none was."""
    return f"; the first that is not usable: {problems[0]}" if problems else ""


def _groups(
    index: OpenIndex, table: LabelTable, kept: Sequence[int], rows: Int64, group: str | None
) -> tuple[list[str], str]:
    column = group or GROUP_COLUMN
    ids = index.rows["image_id"].take(pa.array(rows)).to_pylist()
    if column in table.columns and table.origins:
        values = [table.columns[column][line].strip() for line in kept]
        return each_by_itself(values, ids), f"column {column} of {table.name}"
    column = own_group_column(index, group)
    _require_shown(index, column)
    if column in index.rows.column_names:
        values = texts_of(index.rows[column].take(pa.array(rows)))
        origin = f"column {column}{_OF_INDEX}"
    elif group is not None:
        where = f"{table.name} or the index" if table.origins else "the index"
        raise InputError(f"no column {quoted(group)} in {where}; pass another --group")
    else:
        return ids, _BY_ITSELF
    return each_by_itself(values, ids), origin


def each_by_itself(values: Sequence[str], ids: Sequence[str]) -> list[str]:
    """Return the group of each tile; one without is a group by itself, named by its image id."""
    return [i if is_missing(v) else v for v, i in zip(values, ids, strict=True)]


def is_missing(value: str) -> bool:
    """Return whether a cell holds no value: it is empty, or says so."""
    return value.strip().lower() in _NO_VALUE
