"""Write NumPy with a table of ids beside it, and Parquet."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from histo_index.features.writing.matrix import Matrix
from histo_index.files import publishing


def write_npy(path: Path, matrix: Matrix) -> None:
    """Write float32 [N, D], and the columns to a CSV beside it, which comes first.

    Raises:
        OSError: the disk is full or not writable.
    """
    with publishing(path.with_suffix(".csv")) as temporary, open(temporary, "wb") as file:
        pa_csv.write_csv(matrix.table, file)
    with publishing(path) as temporary, open(temporary, "wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (len(matrix.table), matrix.size)}
        np.lib.format.write_array_header_1_0(file, header)
        for block in matrix.blocks():
            file.write(block.astype("<f4").tobytes())


def write_parquet(path: Path, matrix: Matrix) -> None:
    """Write the columns and `embedding`, float32 lists of fixed size.

    Raises:
        OSError: the disk is full or not writable.
    """
    kind = pa.list_(pa.float32(), matrix.size)
    schema = matrix.table.schema.append(pa.field("embedding", kind))

    def tables() -> Iterator[pa.Table]:
        start = 0
        for block in matrix.blocks():
            flat = pa.array(block.astype(np.float32).ravel())
            column = pa.FixedSizeListArray.from_arrays(flat, matrix.size)
            rows = matrix.table.slice(start, len(block))
            yield rows.append_column("embedding", column).cast(schema)
            start += len(block)

    write_tables(path, schema, tables(), plain=["embedding.list.element"])


def write_tables(
    path: Path, schema: pa.Schema, tables: Iterator[pa.Table], *, plain: Sequence[str] = ()
) -> None:
    """Write tables one after the other to a Parquet file.

    Args:
        path: the file.
        schema: of all tables.
        tables: in order.
        plain: columns whose values do not repeat.
    """
    options: dict[str, Any] = {"compression": "zstd"}
    options["use_dictionary"] = [name for name in schema.names if name not in plain]
    with (
        publishing(path) as temporary,
        open(temporary, "wb") as file,
        pq.ParquetWriter(file, schema, **options) as writer,
    ):
        for table in tables:
            writer.write_table(table)
