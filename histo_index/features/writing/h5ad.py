"""Write AnnData as an HDF5 file: `X`, `obs`, `obsm/spatial`.

Source: the on-disk format of AnnData 0.8 and later, fileformat-prose.md of anndata 0.12.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from histo_index.features.containers.own_columns import IDS
from histo_index.features.writing.matrix import Matrix
from histo_index.files import publishing

_EMPTY: Final = ("layers", "obsm", "obsp", "uns", "varm", "varp")


def write_h5ad(path: Path, matrix: Matrix) -> None:
    """Write embeddings as `X`, columns as `obs`, and places as `obsm/spatial`.

    Places are level-0 pixels of the upper left corner of each tile, as LazySlide writes them.

    Raises:
        OSError: the disk is full or not writable.
    """
    import h5py

    with publishing(path) as temporary, h5py.File(temporary, "w") as file:
        _mark(file, "anndata", "0.1.0")
        for name in _EMPTY:
            _mark(file.create_group(name), "dict", "0.1.0")
        shape = (len(matrix.table), matrix.size)
        numbers = file.create_dataset("X", shape, np.float32)
        _mark(numbers, "array", "0.2.0")
        start = 0
        for block in matrix.blocks():
            numbers[start : start + len(block)] = block
            start += len(block)
        _write_frame(file.create_group("obs"), matrix.table)
        names = pa.table({IDS: pa.array([str(n) for n in range(matrix.size)])})
        _write_frame(file.create_group("var"), names)
        if {"x", "y"} <= set(matrix.table.column_names):
            columns = (matrix.table[name] for name in ("x", "y"))
            if all(pa.types.is_integer(c.type) and not c.null_count for c in columns):
                places = np.stack([matrix.table[n].to_numpy() for n in ("x", "y")], axis=1)
                _mark(file["obsm"].create_dataset("spatial", data=places), "array", "0.2.0")


def _write_frame(group: Any, table: pa.Table) -> None:
    """Write a table whose `image_id` is the index."""
    import h5py

    _mark(group, "dataframe", "0.2.0")
    # A slash would be a group; names that differ in nothing else are rare.
    names = {name: name.replace("/", "_") for name in table.column_names if name != IDS}
    group.attrs["_index"] = "_index"
    text = h5py.string_dtype()
    order = np.array(list(names.values()), dtype=object)
    group.attrs.create("column-order", order, dtype=text if len(order) else np.float64)
    _write_texts(group, "_index", table[IDS].to_pylist())
    for name, stored in names.items():
        _write_column(group, stored, table[name].combine_chunks())


def _write_column(group: Any, name: str, column: Any) -> None:
    kind = column.type
    if pa.types.is_floating(kind):
        values = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
        _mark(group.create_dataset(name, data=values), "array", "0.2.0")
    elif pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        _write_whole(group, name, column)
    else:
        _write_categories(group, name, column.cast(pa.string()))


def _write_whole(group: Any, name: str, column: Any) -> None:
    """Write whole numbers or booleans, with a mask where some are unknown."""
    is_boolean = pa.types.is_boolean(column.type)
    values = column.fill_null(False if is_boolean else 0).to_numpy(zero_copy_only=False)
    if not column.null_count:
        _mark(group.create_dataset(name, data=values), "array", "0.2.0")
        return
    inner = group.create_group(name)
    _mark(inner, "nullable-boolean" if is_boolean else "nullable-integer", "0.1.0")
    mask = column.is_null().to_numpy(zero_copy_only=False)
    for part, data in (("values", values), ("mask", mask)):
        _mark(inner.create_dataset(part, data=data), "array", "0.2.0")


def _write_categories(group: Any, name: str, column: Any) -> None:
    coded = column.dictionary_encode()
    inner = group.create_group(name)
    _mark(inner, "categorical", "0.2.0")
    inner.attrs["ordered"] = False
    _write_texts(inner, "categories", coded.dictionary.to_pylist())
    codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
    _mark(inner.create_dataset("codes", data=codes), "array", "0.2.0")


def _write_texts(group: Any, name: str, values: list[str]) -> None:
    import h5py

    data = np.array(values, dtype=object)
    found = group.create_dataset(name, data=data, dtype=h5py.string_dtype())
    _mark(found, "string-array", "0.2.0")


def _mark(node: Any, kind: str, version: str) -> None:
    node.attrs["encoding-type"] = kind
    node.attrs["encoding-version"] = version
