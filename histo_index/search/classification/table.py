"""The classes of several images as one table."""

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from histo_index.errors import HistoIndexError
from histo_index.search.classification.answer import ClassAnswer
from histo_index.search.tabular import Tabular
from histo_index.wording import printable


class ClassResult(list[ClassAnswer], Tabular):
    """The classes of each query: a list with a table.

    Attributes:
        queries: the name of each query.
    """

    def __init__(self, found: Iterable[ClassAnswer], *, queries: Sequence[str]) -> None:
        """Set the answers and the names of their queries."""
        super().__init__(found)
        self.queries = queries

    @property
    def table(self) -> pa.Table:
        """A row per query; see `class_rows`."""
        return pa.Table.from_pylist(class_rows(self.queries, self))


def class_rows(
    names: Sequence[str], found: Sequence[ClassAnswer | HistoIndexError]
) -> list[dict[str, Any]]:
    """Build a row per query, in their order.

    Its columns are `query`, `class`, `probability`, `probability_low`, `probability_high`, `novel`,
    then `p(CLASS)` of every class in alphabetical order, `status` and `message`.
    """
    answers = [one for one in found if isinstance(one, ClassAnswer)]
    labels = sorted({chance.label for answer in answers for chance in answer.chances})
    return [_row(name, answer, labels) for name, answer in zip(names, found, strict=True)]


def _row(name: str, answer: ClassAnswer | HistoIndexError, labels: Sequence[str]) -> dict[str, Any]:
    problem = str(answer) if isinstance(answer, HistoIndexError) else answer.problem
    known = answer if isinstance(answer, ClassAnswer) else ClassAnswer()
    best = known.chances[0] if known.chances else None
    chances = {chance.label: chance.probability for chance in known.chances}
    return {
        "query": printable(name),
        "class": best and best.label,
        "probability": best and best.probability,
        "probability_low": best and best.low,
        "probability_high": best and best.high,
        "novel": known.is_novel if best else None,
        **{f"p({label})": chances.get(label) for label in labels},
        "status": "ok" if problem is None else "error",
        "message": problem or "",
    }
