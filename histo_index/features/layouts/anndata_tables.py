"""AnnData on disk, in HDF5 (`.h5ad`) or Zarr: `X`, `obs`, `obsm/spatial`."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from histo_index.errors import InputError
from histo_index.features.containers.own_columns import IDS, describe_columns, plain_table
from histo_index.features.containers.part import (
    Blocks,
    Facts,
    Numbers,
    Part,
    require_matrix,
    slide_name,
    to_places,
)
from histo_index.features.containers.tree import Tree
from histo_index.wording import printable

_MOST_COLUMNS: Final = 500
_SPATIAL: Final = "obsm/spatial"
_SPEC: Final = "uns/tile_spec"


def open_h5ad(tree: Tree, path: Path) -> Iterator[Part]:
    """Open an AnnData file.

    The index of `obs` are image ids. Where LazySlide wrote the file (`uns/tile_spec`), rows are
    tiles of the slide that the file is called after.

    Raises:
        InputError: `X` is not a dense matrix, or `obs` has another length.
    """
    rows, size = require_dense(tree, "X")
    columns = read_obs(tree, "obs", rows)
    is_lazyslide = tree.shape(f"{_SPEC}/width") is not None
    places = None
    if is_lazyslide and tree.shape(_SPATIAL) is not None:
        places = to_places(tree.read(_SPATIAL), f"{path}: {_SPATIAL}")
        if len(places) != rows:
            raise InputError(f"{path}: {rows:,} rows, but {_SPATIAL} has {len(places):,}")
    table = None if places is not None else columns
    yield Part(
        facts=Facts(
            path=str(path),
            tool="AnnData" if table is not None else "LazySlide",
            slide=None if table is not None else slide_name(path),
            rows=rows,
            size=size,
            has_places=places is not None,
            columns={} if table is None else describe_columns(table),
            **(tile_facts(_read_spec(tree)) if places is not None else {}),
        ),
        blocks=lambda: _with_columns(tree.blocks("X", rows, size), table),
        places=None if places is None else lambda: places,
    )


def require_dense(tree: Tree, path: str) -> tuple[int, int]:
    """Return N and D of a dense matrix.

    Raises:
        InputError: it is sparse, or missing.
    """
    found = tree.shape(path)
    if found is None:
        kind = tree.attributes(path).get("encoding-type", "missing")
        raise InputError(
            f"{tree.name}: {printable(path)} is {printable(kind)[:40]}; expected dense"
        )
    return require_matrix(*found, f"{tree.name}: {printable(path)}")


def read_obs(tree: Tree, path: str, rows: int) -> pa.Table:
    """Read the columns of a table of rows; its index becomes `image_id`.

    Columns of other kinds than numbers, texts and categories are left out.

    Raises:
        InputError: a column has another length, or is damaged.
    """
    attributes = tree.attributes(path)
    order = [str(name) for name in np.ravel(attributes.get("column-order", ()))]
    index = str(attributes.get("_index", "_index"))
    names = {IDS: index, **{name: name for name in order[:_MOST_COLUMNS] if name != IDS}}
    columns: dict[str, pa.Array] = {}
    for name, stored in names.items():
        if "/" in stored or stored in (".", "..", ""):
            raise InputError(f"{tree.name}: {path}: column {printable(stored)!r} is no plain name")
        column = _read_column(tree, f"{path}/{stored}")
        if column is None:
            continue
        if len(column) != rows:
            raise InputError(
                f"{tree.name}: {rows:,} rows, but {path}/{printable(stored)} has {len(column):,}"
            )
        columns[name] = column
    return plain_table(pa.table(columns), f"{tree.name}: {path}")


def tile_facts(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Read the size of tiles from a tile specification of LazySlide.

    Width and height are in pixels of the tile, `mpp` is its scale, and the base is level 0.
    """

    def number(name: str) -> float | None:
        value = spec.get(name)
        return float(value) if isinstance(value, int | float) and 0 < value < 1e9 else None

    width, height = number("width"), number("height")
    base = number("base_downsample")
    is_square = width is not None and width == height
    return {
        "size_px": round(width) if width and is_square else None,
        "span_px": width * base if width and base and is_square else None,
        "mpp": number("mpp"),
    }


def _read_spec(tree: Tree) -> dict[str, float]:
    names = ("width", "height", "mpp", "base_downsample")
    found = {name: tree.shape(f"{_SPEC}/{name}") for name in names}
    return {
        name: float(tree.read(f"{_SPEC}/{name}"))
        for name, known in found.items()
        if known is not None and known[0] == () and np.dtype(known[1]).kind in "fiu"
    }


def _read_column(tree: Tree, path: str) -> pa.Array | None:
    """Read a column; None if it is of another kind."""
    if tree.shape(path) is not None:
        return _as_column(tree.read(path))
    if tree.shape(f"{path}/codes") is not None:
        categories, codes = tree.read(f"{path}/categories"), tree.read(f"{path}/codes")
        values = _as_column(categories)
        if values is None or codes.dtype.kind not in "iu":
            return None
        numbers = pa.array(codes.astype(np.int64), mask=codes < 0)
        try:
            return values.take(numbers)
        except pa.ArrowException as error:
            raise InputError(f"{tree.name}: {printable(path)}: codes without category") from error
    if tree.shape(f"{path}/values") is not None and tree.shape(f"{path}/mask") is not None:
        values, mask = _as_column(tree.read(f"{path}/values")), tree.read(f"{path}/mask")
        if values is None or len(mask) != len(values):
            return None
        return pa.array(values.to_numpy(zero_copy_only=False), values.type, mask=mask.astype(bool))
    return None


def _as_column(values: Numbers) -> pa.Array | None:
    if values.ndim != 1:
        return None
    if values.dtype.kind in "OTSU":
        texts = [v.decode(errors="replace") if isinstance(v, bytes) else v for v in values.tolist()]
        return pa.array([None if v is None else str(v) for v in texts], pa.string())
    return pa.array(values) if values.dtype.kind in "fiub" else None


def _with_columns(blocks: Blocks, table: pa.Table | None) -> Blocks:
    done = 0
    for values, _ in blocks:
        yield values, None if table is None else table.slice(done, len(values))
        done += len(values)
