"""Read standing rules from an expression: `column = value`, several joined by OR, or IN (...)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from histo_index.errors import InputError
from histo_index.indexer.format.removed import NAMED, Rule, describe_rule
from histo_index.indexer.format.shards import FACTS
from histo_index.wording import printable

_TOKEN: Final = re.compile(
    r"""\s*(?:
        '(?P<text>(?:[^']|'')*)'
      | "(?P<quoted>(?:[^"]|"")+)"
      | (?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?![\w.])
      | (?P<word>[^\W\d]\w*)
      | (?P<sign>==|=|\(|\)|,)
    )""",
    re.VERBOSE,
)
# Columns that the index writes itself, or that name one tile: those are removed by content.
_OWN: Final = {*NAMED, *FACTS, "stem"}


@dataclass(frozen=True, kw_only=True)
class _Token:
    kind: str
    value: str


class NoRuleError(Exception):
    """An expression is no standing rule; the message says why."""


def read_rules(where: str, rows: pa.Table) -> list[Rule]:
    """Read an expression as standing rules on the columns of an index.

    Args:
        where: an SQL expression.
        rows: a table with the columns of the index.

    Raises:
        NoRuleError: it is not of that form, or of a column that cannot have rules.
        InputError: the value does not fit the type of the column.
    """
    rules = parse_rules(where, rows.column_names)
    for rule in rules:
        if rule.column in _OWN:
            raise NoRuleError(f"{rule.column} is not a metadata column of your own")
        _require_comparable(rule, rows)
    return rules


def parse_rules(where: str, columns: Sequence[str]) -> list[Rule]:
    """Parse an expression: `column = value`, several joined by OR, or `column IN (...)`.

    Args:
        where: the expression.
        columns: names that it may use.

    Raises:
        NoRuleError: it is not of that form.
    """
    tokens: Sequence[_Token] = _split(where)
    rules: list[Rule] = []
    while True:
        tokens, found = _parse_comparison(tokens, columns)
        rules += [rule for rule in found if rule not in rules]
        if not tokens:
            return rules
        tokens = _expect(tokens, "word", "OR")


def _split(where: str) -> list[_Token]:
    tokens, start, text = [], 0, where.rstrip()
    while start < len(text):
        match = _TOKEN.match(text, start)
        if match is None or match.lastgroup is None:
            raise _not_plain()
        tokens.append(_Token(kind=match.lastgroup, value=match[match.lastgroup]))
        start = match.end()
    return tokens


def _parse_comparison(
    tokens: Sequence[_Token], columns: Sequence[str]
) -> tuple[Sequence[_Token], list[Rule]]:
    if len(tokens) < 3 or tokens[0].kind not in ("word", "quoted"):
        raise _not_plain()
    column = _find_column(tokens[0], columns)
    if tokens[1].value in ("=", "==") and tokens[1].kind == "sign":
        return tokens[3:], [_make_rule(column, tokens[2])]
    tokens = _expect(_expect(tokens[1:], "word", "IN"), "sign", "(")
    rules = []
    while len(tokens) >= 2:
        rules.append(_make_rule(column, tokens[0]))
        if tokens[1] == _Token(kind="sign", value=")"):
            return tokens[2:], rules
        tokens = _expect(tokens[1:], "sign", ",")
    raise _not_plain()


def _expect(tokens: Sequence[_Token], kind: str, value: str) -> Sequence[_Token]:
    if not tokens or tokens[0].kind != kind or tokens[0].value.upper() != value:
        raise _not_plain()
    return tokens[1:]


def _find_column(token: _Token, columns: Sequence[str]) -> str:
    """Find the column that SQL means: names there ignore case."""
    name = token.value.replace('""', '"') if token.kind == "quoted" else token.value
    found = [column for column in columns if column.lower() == name.lower()]
    if len(found) != 1:
        raise NoRuleError(f"there is no column {printable(name)}, or several")
    return found[0]


def _make_rule(column: str, token: _Token) -> Rule:
    if token.kind == "text":
        return Rule(column=column, value=token.value.replace("''", "'"))
    if token.kind != "number":
        raise _not_plain()
    is_whole = re.fullmatch(r"[-+]?\d+", token.value)
    return Rule(column=column, value=int(token.value) if is_whole else float(token.value))


def _require_comparable(rule: Rule, rows: pa.Table) -> None:
    kind, name = rows.schema.field(rule.column).type, printable(rule.column)
    if pa.types.is_string(kind) and not isinstance(rule.value, str):
        # SQL would compare numbers: 007, 07 and 7 would all be equal.
        raise InputError(
            f"--where: column {name} is text and {rule.value} a number; expected text in single "
            f"quotes, as it stands in the column: {name} = '{rule.value}'"
        )
    if rule.find(rows.slice(0, 0)) is None:
        raise InputError(
            f"--where: {describe_rule(rule)}: column {name} is of type {kind}; expected a value "
            "of that type"
        )


def _not_plain() -> NoRuleError:
    return NoRuleError("a rule is column = value, several joined by OR, or column IN (...)")
