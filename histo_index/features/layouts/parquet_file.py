"""A Parquet file with an id and an embedding column."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from histo_index.errors import InputError
from histo_index.features.containers.own_columns import IDS, describe_columns, plain_table
from histo_index.features.containers.part import (
    Blocks,
    Facts,
    Part,
    one_line,
    require_matrix,
    require_no_bomb,
    rows_per_block,
)
from histo_index.wording import printable

_NAMES: Final = ("embedding", "embeddings", "features", "vector")
_FAULTS: Final = (pa.ArrowException, OSError, ValueError, MemoryError)


def open_parquet(path: Path, stack: ExitStack) -> Iterator[Part]:
    """Open the file.

    Raises:
        InputError: it is no Parquet, or has no such columns.
    """
    handle = stack.enter_context(open(path, "rb"))  # noqa: SIM115
    try:
        file = pq.ParquetFile(handle)
        schema, rows = file.schema_arrow, file.metadata.num_rows
    except _FAULTS as error:
        raise InputError(f"{path}: not a whole Parquet file ({one_line(error)})") from error
    name = _embedding_column(schema, path)
    size = _size_of(file, schema.field(name), path)
    claimed = rows * size * schema.field(name).type.value_type.bit_width // 8
    require_no_bomb(str(path), claimed=claimed, stored=os.fstat(handle.fileno()).st_size)
    require_matrix((rows, size), np.float32, str(path))
    others = [field.name for field in schema if not pa.types.is_nested(field.type)]
    empty = schema.empty_table().select([field for field in others if field != name])
    columns = describe_columns(plain_table(empty.replace_schema_metadata(None), str(path)))
    facts = Facts(path=str(path), tool="Parquet", slide=None, rows=rows, size=size, columns=columns)
    yield Part(facts=facts, blocks=partial(_blocks, file, name, others, size))


def _embedding_column(schema: pa.Schema, path: Path) -> str:
    lists = [field.name for field in schema if _is_vector(field.type)]
    named = [name for name in _NAMES if name in lists]
    if not (named or len(lists) == 1):
        found = printable(", ".join(schema.names[:8]))[:200]
        raise InputError(
            f"{path}: no column `embedding` with lists of numbers; found {found or 'none'}"
        )
    if IDS not in schema.names and "id" not in schema.names:
        raise InputError(f"{path}: no column `image_id`; expected one beside `{lists[0]}`")
    return named[0] if named else lists[0]


def _is_vector(kind: Any) -> bool:
    checks = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    is_list = any(check(kind) for check in checks)
    return is_list and (pa.types.is_floating(kind.value_type))


def _size_of(file: Any, field: Any, path: Path) -> int:
    if pa.types.is_fixed_size_list(field.type):
        return int(field.type.list_size)
    try:
        for batch in file.iter_batches(1, columns=[field.name], use_threads=False):
            return len(batch.column(0)[0].as_py() or ())
    except _FAULTS as error:
        raise InputError(f"{path}: damaged ({one_line(error)})") from error
    raise InputError(f"{path}: no rows")


def _blocks(file: Any, name: str, others: list[str], size: int) -> Blocks:
    where = printable(name)
    step = rows_per_block(size, 4)
    done = 0
    try:
        for batch in file.iter_batches(step, columns=[name, *others], use_threads=False):
            table = pa.Table.from_batches([batch])
            lists = table[name].combine_chunks()
            values = lists.flatten().to_numpy(zero_copy_only=False)
            if lists.null_count or len(values) != len(lists) * size:
                raise ValueError(f"a row from {done:,} on has not {size:,} numbers")
            own = table.drop_columns([name]).replace_schema_metadata(None)
            yield values.reshape(len(lists), size), plain_table(own, where)
            done += len(lists)
    except _FAULTS as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{where}: cannot be read ({one_line(error)})") from error
