"""Conditions on columns that are no SQL: a column, an operator and a value.

They are for askers who must not write expressions, such as clients of the server: a value is only
ever compared, and nothing it holds is read as a pattern or as code.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from histo_index.arrays import Bools
from histo_index.errors import InputError
from histo_index.wording import printable

_COMPARE: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "eq": pc.equal,
    "ne": pc.not_equal,
    "lt": pc.less,
    "le": pc.less_equal,
    "gt": pc.greater,
    "ge": pc.greater_equal,
}
OPERATORS: Final = (*_COMPARE, "contains", "empty", "filled")


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What a tile must fulfil.

    Attributes:
        column: of the index.
        operator: one of OPERATORS; `contains` ignores letter case.
        value: as text; ignored by `empty` and `filled`.
    """

    column: str
    operator: str
    value: str = ""


def fulfilling(rows: pa.Table, conditions: Sequence[Condition]) -> Bools:
    """Flag tiles that fulfil all conditions: bool [N]; a tile without a value fulfils only `empty`.

    Args:
        rows: a row per tile.
        conditions: on its columns.

    Raises:
        InputError: there is no such column or operator, or the value is not of the column's type.
    """
    flags: Bools = np.ones(len(rows), bool)
    for condition in conditions:
        if condition.column not in rows.column_names:
            raise InputError(f"filter on {printable(condition.column)}: no such column")
        found = pc.fill_null(_test(rows[condition.column], condition), False)
        flags &= found.to_numpy()
    return flags


def _test(column: pa.ChunkedArray, condition: Condition) -> Any:
    operator = condition.operator
    if operator in ("empty", "filled"):
        return pc.is_null(column) if operator == "empty" else pc.is_valid(column)
    if operator == "contains" and pa.types.is_string(column.type):
        return pc.match_substring(column, condition.value, ignore_case=True)
    if operator not in _COMPARE:
        kind = " on a column that is no text" if operator == "contains" else ""
        raise InputError(
            f"filter {printable(operator)}{kind}: expected one of {', '.join(OPERATORS)}"
        )
    return _COMPARE[operator](column, _value(column.type, condition))


def _value(kind: pa.DataType, condition: Condition) -> pa.Scalar:
    try:
        return pa.scalar(condition.value).cast(kind)
    except pa.ArrowException as error:
        raise InputError(
            f"filter on {printable(condition.column)}: {printable(condition.value)} is no value of "
            f"a column that holds {kind}"
        ) from error
