"""Group the queries by the tiles that may answer them; tiles of a query's own group may not."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from histo_index.arrays import Bools, Int64
from histo_index.errors import InputError
from histo_index.indexer.private import private_among, refusal
from histo_index.search.neighbours.conditions import fulfilling
from histo_index.search.neighbours.filters import ADDED, Filters, passing
from histo_index.wording import printable


@dataclass(frozen=True, kw_only=True)
class Group:
    """Queries that the same tiles may answer.

    Attributes:
        queries: int64 [q], their positions.
        allowed: bool [N]; None is every tile.
    """

    queries: Int64
    allowed: Bools | None


def group_queries(
    rows: pa.Table, filters: Filters, query_rows: Sequence[int | None]
) -> Iterator[Group]:
    """Gather queries by the tiles that may answer them.

    Args:
        rows: a row per tile.
        filters: what may come back.
        query_rows: [Q], the row that each query is, or None if it is not in the index.

    Raises:
        InputError: a column or value that the filters need is not there.
    """
    allowed = None if filters.where is None else passing(rows, filters.where, hidden=filters.hidden)
    if filters.conditions:
        fulfilled = fulfilling(rows, filters.conditions)
        allowed = fulfilled if allowed is None else allowed & fulfilled
    if not filters.exclude_same:
        yield Group(queries=np.arange(len(query_rows)), allowed=allowed)
        return
    columns = [
        find_column(rows, name, filters.hidden, option="--exclude-same")
        for name in filters.exclude_same
    ]
    groups: dict[tuple[Any, ...], list[int]] = {}
    for position, row in enumerate(query_rows):
        if problem := exclusion_problem(rows, filters, row, f"query {position + 1}"):
            raise problem
        own = tuple(
            _given(column, name, filters.values) if row is None else column[row]
            for name, column in zip(filters.exclude_same, columns, strict=True)
        )
        groups.setdefault(own, []).append(position)
    for own, positions in groups.items():
        mask = allowed
        for column, value in zip(columns, own, strict=True):
            others = pc.fill_null(pc.not_equal(column, value), False).to_numpy()
            mask = others if mask is None else mask & others
        yield Group(queries=np.array(positions, np.int64), allowed=mask)


def _given(column: pa.ChunkedArray, name: str, values: Mapping[str, str]) -> pa.Scalar:
    """Read the value that a query outside the index has in a column."""
    try:
        return pa.scalar(values[name]).cast(column.type)
    except pa.ArrowInvalid as error:
        raise InputError(
            f"--value {printable(name)}={printable(values[name])}: the column holds {column.type}; "
            "expected a value of that type"
        ) from error


def find_column(
    rows: pa.Table, name: str, hidden: Sequence[str], *, option: str
) -> pa.ChunkedArray:
    """Find a column that an option names.

    Args:
        rows: a row per tile.
        name: the column.
        hidden: private columns.
        option: the option, for the message.

    Raises:
        InputError: it is not there, or private.
    """
    if private_among([name], hidden):
        raise refusal(name)
    names = [column for column in rows.column_names if column not in ADDED]
    if name not in names:
        raise InputError(
            f"{option} {printable(name)}: no such column; "
            f"the index has {', '.join(map(printable, names))}"
        )
    return rows[name]


def exclusion_problem(
    rows: pa.Table, filters: Filters, row: int | None, query: str
) -> InputError | None:
    """Return why `exclude_same` cannot be applied to a query; None if it can.

    Args:
        rows: a row per tile.
        filters: what may come back.
        row: the one that the query is, or None if it is not in the index.
        query: how the message calls it.

    Raises:
        InputError: there is no such column.
    """
    for name in filters.exclude_same:
        column = find_column(rows, name, filters.hidden, option="--exclude-same")
        if row is None and name in filters.values:
            continue
        if row is None or not column[row].is_valid:
            reason = "is not in the index" if row is None else "has no value there"
            return InputError(
                f"--exclude-same {printable(name)}: {printable(query)} {reason}; "
                + (
                    f"pass --value {printable(name)}=VALUE"
                    if row is None
                    else "ask for tiles whose value is known"
                )
            )
    return None
