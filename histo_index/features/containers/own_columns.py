"""Columns that rows bring along: `image_id` and others, in four plain types."""

from typing import Final

import pyarrow as pa

from histo_index.errors import InputError
from histo_index.features.containers.part import one_line
from histo_index.indexer.inputs.columns import plain_columns
from histo_index.wording import printable

IDS: Final = "image_id"
# What the index writes itself; `width`, `height` and `path` of an export come back.
_DROPPED: Final = frozenset(("sha256", "note", "embedding", "stem", "features_file"))
TYPES: Final = {
    "string": pa.string(),
    "int64": pa.int64(),
    "double": pa.float64(),
    "bool": pa.bool_(),
}


def plain_table(table: pa.Table, name: str) -> pa.Table:
    """Convert a table to the four types, without what an index writes itself.

    Raises:
        InputError: it has no `image_id`, or a column is no plain one.
    """
    if IDS not in table.column_names:
        if "id" not in table.column_names:
            found = printable(", ".join(table.column_names[:8]))[:200]
            raise InputError(f"{name}: no column `image_id`; found {found or 'none'}")
        table = table.rename_columns({"id": IDS})
    try:
        table = plain_columns(table.drop_columns([n for n in table.column_names if n in _DROPPED]))
        return table.cast(pa.schema([(f.name, _plain_type(f)) for f in table.schema]))
    except (pa.ArrowException, ValueError) as error:
        raise InputError(f"{name}: not a table of plain columns ({one_line(error)})") from error


def describe_columns(table: pa.Table) -> dict[str, str]:
    """Return name to type of the columns."""
    return {field.name: str(field.type) for field in table.schema}


def _plain_type(field: pa.Field) -> pa.DataType:
    kind = field.type
    if field.name == IDS:
        return pa.string()
    if pa.types.is_boolean(kind):
        return pa.bool_()
    if pa.types.is_integer(kind):
        return pa.int64()
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return pa.float64()
    return pa.string()
