"""A NumPy matrix beside a table of ids: `tiles.npy` and `tiles.csv`."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pyarrow as pa

from histo_index.errors import InputError
from histo_index.features.containers.numpy_stream import FAULTS, read_header, stream_rows
from histo_index.features.containers.own_columns import IDS, describe_columns, plain_table
from histo_index.features.containers.part import Blocks, Facts, Part, one_line, require_matrix
from histo_index.indexer.inputs.tables import read_table

TABLES: Final = (".csv", ".tsv", ".parquet", ".txt")


def open_npy(path: Path, stack: ExitStack) -> Iterator[Part]:
    """Open a matrix whose rows have ids in a table beside it.

    Raises:
        InputError: it is no such matrix, is cut off, or there are no ids.
    """
    file = stack.enter_context(open(path, "rb"))  # noqa: SIM115
    try:
        shape, dtype = read_header(file)
    except FAULTS as error:
        raise InputError(f"{path}: not a NumPy array of numbers ({one_line(error)})") from error
    rows, size = require_matrix(shape, dtype, str(path))
    start = file.tell()
    expected, found = start + rows * size * dtype.itemsize, path.stat().st_size
    if found < expected:
        raise InputError(f"{path}: cut off: {found:,} bytes, expected {expected:,}")
    table = _read_ids(path, rows)

    def blocks() -> Blocks:
        file.seek(start)
        done = 0
        for values in stream_rows(file, rows, size, dtype):
            yield values, table.slice(done, len(values))
            done += len(values)

    facts = Facts(
        path=str(path), tool="NumPy", slide=None, rows=rows, size=size,
        columns=describe_columns(table),
    )  # fmt: skip
    yield Part(facts=facts, blocks=blocks)


def _read_ids(path: Path, rows: int) -> pa.Table:
    beside = [path.with_suffix(suffix) for suffix in TABLES]
    table_path = next((place for place in beside if place.is_file()), None)
    if table_path is None:
        raise InputError(
            f"{path}: no ids; put a table beside it, {beside[0].name}, with the column image_id"
        )
    if table_path.suffix == ".txt":
        names = table_path.read_text(encoding="utf-8", errors="replace").split("\n")
        names = names[:-1] if names and not names[-1] else names
        table = pa.table({IDS: pa.array([name.rstrip("\r") for name in names], pa.string())})
    else:
        table = read_table(table_path)
    table = plain_table(table, str(table_path))
    if len(table) != rows:
        raise InputError(f"{path}: {rows:,} rows, but {table_path.name} has {len(table):,} ids")
    return table
