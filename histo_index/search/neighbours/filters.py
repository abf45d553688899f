"""Which tiles may come back at all, decided before the search.

`where` is an SQL expression over the index's columns, evaluated by DuckDB, which here can reach
neither files nor the network.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from histo_index.arrays import Bools
from histo_index.errors import InputError
from histo_index.indexer.private import require_public
from histo_index.search.neighbours.conditions import Condition
from histo_index.wording import printable

# The program adds these columns; nobody asks for them.
ADDED: Final = ("stem",)
# Texts, quoted names, and words that are not functions.
_WORD: Final = re.compile(
    r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|(?<!\w)(?P<word>[^\W\d]\w*)(?!\w|\s*\()""", re.VERBOSE
)
_REASONS: Final = (
    (r'Referenced column "(.*?)" not found', "there is no column {}"),
    (r"Could not convert string '(.*?)' to", "{} is no number, and the column holds numbers"),
    (r'syntax error at or near "(.*?)"', "it cannot be read at {}"),
    (r"unterminated", "a quote is not closed"),
    (r"single expression", "it is not one expression"),
    (r"without selection list", "it is empty"),
    (r"operations are disabled", "it may not read files"),
    (r"Table with name (\w+) does not exist", "there is no table {}"),
    (r"syntax error", "it ends too early"),
    (r"(?:Function|Macro) with name (\w+) does not exist", "there is no function {}"),
    (r"(?:Cannot compare|No function matches)", "values of different kinds are compared"),
)
_SETTINGS: Final[dict[str, str | bool | int | float | list[str]]] = {
    "enable_external_access": "false",
    "autoload_known_extensions": "false",
    "autoinstall_known_extensions": "false",
    "python_enable_replacements": "false",
    # Several threads give the chunks of a table in any order.
    "threads": 1,
    "lock_configuration": "true",
}


@dataclass(frozen=True, kw_only=True)
class Filters:
    """What may come back.

    Attributes:
        where: an SQL expression over the columns, such as `site = 'A' and mpp < 0.6`; None is all.
        exclude_same: columns; tiles whose value in one of them is the query's own stay out, and so
            do those without a value, because they might be.
        hidden: private columns that are left out of the table; naming one is a special error.
        values: column to value of queries that are not in the index, as text.
        conditions: further ones that are no SQL.
    """

    where: str | None = None
    exclude_same: Sequence[str] = ()
    hidden: Sequence[str] = ()
    values: Mapping[str, str] = field(default_factory=dict)
    conditions: Sequence[Condition] = ()


def passing(rows: pa.Table, where: str, *, hidden: Sequence[str] = ()) -> Bools:
    """Flag tiles for which an expression is true: bool [N].

    Args:
        rows: a row per tile; its columns are the names that the expression may use.
        where: an SQL expression; text stands in single quotes.
        hidden: private columns that are left out of the table.

    Raises:
        InputError: it is not such an expression, or true of no tile.
    """
    import duckdb

    table = rows.drop_columns(list(ADDED))
    try:
        # A column means itself even if SQL has a word of that name, such as `group`.
        try:
            answers = _evaluate(table, quote_columns(where, table.column_names))
        except duckdb.ParserException:
            answers = _evaluate(table, where)
    except duckdb.Error as error:
        require_public(where, hidden)
        raise _unusable(where, _reason(str(error)), table) from error
    if answers.num_columns != 1 or not pa.types.is_boolean(answers.schema.types[0]):
        raise _unusable(where, "it is not true or false", table)
    if len(answers) != len(rows):
        raise _unusable(where, "it has no single value for each tile", table)
    allowed: Bools = pc.fill_null(answers.column(0), False).to_numpy()
    if not allowed.any():
        raise InputError(f"--where {printable(where)}: true of no tile; check the values it names")
    return allowed


def _evaluate(table: pa.Table, where: str) -> pa.Table:
    import duckdb

    with duckdb.connect(":memory:", config=_SETTINGS) as engine:
        expression = duckdb.SQLExpression(where).alias("is_wanted")
        return engine.from_arrow(table).select(expression).to_arrow_table()


def quote_columns(where: str, columns: Sequence[str]) -> str:
    """Put double quotes around the words of an expression that are columns.

    Args:
        where: an SQL expression; texts and quoted names in it stay as they are.
        columns: names; letter case does not matter, as in SQL.
    """
    known = {name.casefold() for name in columns}

    def quote(match: re.Match[str]) -> str:
        word = match["word"]
        return f'"{word}"' if word and word.casefold() in known else match[0]

    return _WORD.sub(quote, where)


def _reason(message: str) -> str:
    """Turn a message of DuckDB into words for people who do not know it."""
    for pattern, words in _REASONS:
        if match := re.search(pattern, message):
            return words.format(*(printable(text)[:80] for text in match.groups()))
    return "it does not fit the columns"


def _unusable(where: str, reason: str, table: pa.Table) -> InputError:
    columns = ", ".join(map(printable, table.column_names))
    return InputError(
        f"--where {printable(where)}: {reason}; expected an SQL expression, text in single quotes, "
        f"over the columns {columns}"
    )
