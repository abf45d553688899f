"""The types in which the index keeps columns of users."""

import pyarrow as pa


def plain_columns(table: pa.Table) -> pa.Table:
    """Convert columns to the types in which the index keeps them.

    Raises:
        ValueError: a column is of another kind, such as lists, or a name is there twice.
        pa.ArrowException: a text is not UTF-8.
    """
    # Texts that are not UTF-8, which nothing has looked at so far.
    table.validate(full=True)
    require_distinct(table.column_names)
    for position, field in enumerate(table.schema):
        kind = _plain_type(field.type)
        if kind is None:
            raise ValueError(f"column {field.name[:100]!r} is {field.type}; pass plain values")
        table = table.set_column(position, field.name, table.column(position).cast(kind))
    return table


def _plain_type(kind: pa.DataType) -> pa.DataType | None:
    """Choose the type in which the index keeps a column; None for lists, structures and bytes."""
    if pa.types.is_dictionary(kind):
        return _plain_type(kind.value_type)
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    # A column without any value has no type.
    if is_text or pa.types.is_string_view(kind) or pa.types.is_null(kind):
        return pa.string()
    if pa.types.is_float16(kind):
        return pa.float32()
    checks = (
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_boolean,
        pa.types.is_decimal,
        pa.types.is_timestamp,
        pa.types.is_date,
        pa.types.is_time,
    )
    return kind if any(check(kind) for check in checks) else None


def require_distinct(names: list[str]) -> None:
    """Check that no two columns have one name; raise a ValueError that names it."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"column {name[:100]!r} is there twice")
        seen.add(name)
