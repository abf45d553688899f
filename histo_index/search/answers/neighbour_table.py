"""Neighbours as rows of a table, one per neighbour."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from histo_index.errors import HistoIndexError
from histo_index.search.answers.neighbours import Answered, Nearest, Neighbour
from histo_index.search.tabular import Tabular
from histo_index.wording import printable

NEIGHBOUR_COLUMNS: Final = ("query", "rank", "image_id", "path", "distance")
# User columns of these names get the prefix `tile_`.
_ANSWER_COLUMNS: Final = (
    *NEIGHBOUR_COLUMNS, "verdict", "class", "probability", "probability_low", "probability_high",
    "status", "message",
)  # fmt: skip
# Columns that may be empty.
_TYPES: Final = {
    "verdict": pa.string(),
    "class": pa.string(),
    **dict.fromkeys(("probability", "probability_low", "probability_high"), pa.float64()),
}


class SearchResult(list[Nearest], Tabular):
    """The neighbours of each query, nearest first: a list with a table.

    Attributes:
        queries: the name of each query.
    """

    def __init__(self, found: Iterable[Nearest], *, queries: Sequence[str]) -> None:
        """Set the neighbours of each query and its name."""
        super().__init__(found)
        self.queries = queries

    @property
    def table(self) -> pa.Table:
        """A row per neighbour: `query`, `rank`, `image_id`, `path`, `distance`, `verdict`.

        With a class model also `class`, `probability`, `probability_low` and `probability_high`;
        then the user's columns.
        """
        return rows_table(neighbour_rows(self.queries, self), columns=NEIGHBOUR_COLUMNS)


def rows_table(rows: Sequence[Mapping[str, Any]], *, columns: Sequence[str]) -> pa.Table:
    """Convert rows of equal columns to a table.

    Args:
        rows: column to value.
        columns: the columns of a table without rows.
    """
    names = list(rows[0]) if rows else columns
    return pa.table(
        {name: pa.array([row[name] for row in rows], _TYPES.get(name)) for name in names}
    )


def neighbour_rows(
    names: Sequence[str], found: Sequence[Answered], *, with_status: bool = False
) -> list[dict[str, Any]]:
    """Flatten neighbours: a dict per neighbour, the name of the query first.

    With a status, a query without neighbours has a row with the reason.
    """
    rows: list[dict[str, Any]] = []
    for name, answer in zip(names, found, strict=True):
        if isinstance(answer, HistoIndexError):
            near, status, reason = Nearest(), "error", str(answer)
        else:
            near, status, reason = answer, "ok", "" if answer else "no tile matches"
        outcome = {"status": status, "message": reason} if with_status else {}
        has_classes = near.classes is not None
        rows += [
            _neighbour_row(name, neighbour, has_classes=has_classes) | outcome for neighbour in near
        ]
        if outcome and not near:
            rows.append({"query": printable(name), **outcome})
    # Rows with neighbours also have the columns of the user.
    columns = max(rows, key=len, default={})
    shown = dict.fromkeys((*NEIGHBOUR_COLUMNS, *columns))
    return [{column: row.get(column) for column in shown} for row in rows]


def _neighbour_row(name: str, neighbour: Neighbour, *, has_classes: bool) -> dict[str, Any]:
    return {
        "query": printable(name),
        "rank": neighbour.rank,
        "image_id": neighbour.image_id,
        "path": neighbour.path,
        "distance": neighbour.distance,
        **({} if neighbour.verdict is None else {"verdict": neighbour.verdict.value}),
        **(_chances(neighbour) if has_classes else {}),
        **{
            f"tile_{column}" if column in _ANSWER_COLUMNS else column: value
            for column, value in neighbour.metadata.items()
        },
    }


def _chances(neighbour: Neighbour) -> dict[str, Any]:
    return {
        "class": neighbour.label,
        "probability": neighbour.probability,
        "probability_low": neighbour.probability_low,
        "probability_high": neighbour.probability_high,
    }
