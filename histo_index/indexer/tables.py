"""Read a table that a user wrote: CSV, TSV or Parquet, as text first, numbers only where safe."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from histo_index.errors import InputError

# Names of things, never quantities: "007" must not become 7.
_NAMES: Final = frozenset(("path", "image_id"))


def read_table(path: Path) -> pa.Table:
    """Read a table with a header.

    In CSV and TSV a column becomes numeric only if every value survives the way there and back
    without losing a leading zero; empty cells become null there. `path` and `image_id` stay text.

    Raises:
        InputError: the file is missing, unreadable, or not the table its suffix promises.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            return _plain_columns(pq.ParquetFile(path, memory_map=False).read(), path)
        if suffix in (".csv", ".tsv"):
            return _with_numbers(_read_text(path, "\t" if suffix == ".tsv" else ","))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (pa.ArrowInvalid, pa.ArrowException, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: not a usable {suffix[1:]} table ({reason})") from error
    raise InputError(f"{path}: unknown kind of table; pass .csv, .tsv or .parquet")


def _read_text(path: Path, delimiter: str) -> pa.Table:
    with open(path, "rb") as file:
        first = file.readline().decode("utf-8-sig").strip("\r\n")
    if not first:
        raise ValueError("the first line, which names the columns, is empty")
    names = next(csv.reader([first], delimiter=delimiter))
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise ValueError(f"column {sorted(repeated)[0]!r} is there twice")
    return pa_csv.read_csv(
        path,
        parse_options=pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=pa_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
        ),
    )


def _with_numbers(table: pa.Table) -> pa.Table:
    columns = {
        name: table[name] if name in _NAMES else _as_number(table[name])
        for name in table.column_names
    }
    return pa.table(columns)


def _as_number(column: pa.ChunkedArray) -> pa.ChunkedArray:
    is_empty = pc.equal(column, "")
    filled = pc.if_else(is_empty, pa.scalar(None, pa.string()), column)
    keeps_zeros = not pc.any(pc.match_substring_regex(column, r"^[+-]?0\d|^\+|\s|[a-zA-Z]")).as_py()
    if keeps_zeros and filled.null_count < len(filled):
        for kind in (pa.int64(), pa.float64()):
            try:
                return filled.cast(kind)
            except pa.ArrowInvalid:
                continue
    return column


def _plain_columns(table: pa.Table, path: Path) -> pa.Table:
    """Undo dictionary encoding; refuse columns that hold lists or structures."""
    checks: list[Callable[[pa.DataType], bool]] = [pa.types.is_nested, pa.types.is_null]
    for position, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            column = table.column(position).cast(field.type.value_type)
            table = table.set_column(position, field.name, column)
        elif any(check(field.type) for check in checks):
            raise InputError(f"{path}: column `{field.name}` is {field.type}; pass plain values")
    return table.replace_schema_metadata(None)
