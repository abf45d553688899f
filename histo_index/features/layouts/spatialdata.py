"""A SpatialData store of LazySlide: `tables/{model}_{tiles}` and `shapes/{tiles}`.

The attributes of the root describe the tiles (`tile_spec`). Each table names the shapes that its
rows belong to (`region`), and a row its shape (`obs/tile_id`).
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from histo_index.arrays import Int64
from histo_index.errors import InputError
from histo_index.features.containers.part import Facts, Part, one_line, to_places
from histo_index.features.containers.zarr_tree import ZarrTree
from histo_index.features.layouts.anndata_tables import require_dense, tile_facts
from histo_index.wording import printable

# A square of five points as WKB: byte order, type, rings, points, and their places.
_WKB_BYTES: Final = 93
_WKB_HEAD: Final = 13
_MOST_BYTES: Final = 2**28


def open_spatialdata(path: Path) -> Iterator[Part]:
    """Open each table of tile features of a store.

    Raises:
        InputError: it is no such store, or has no such table.
    """
    tree = ZarrTree(path)
    specs = tree.attributes("").get("tile_spec", {})
    count = 0
    for name in tree.children("tables"):
        attributes = tree.attributes(f"tables/{name}")
        region = attributes.get("region")
        if not isinstance(region, str) or tree.shape(f"tables/{name}/X") is None:
            continue
        count += 1
        yield _open_table(tree, path, name, region, specs.get(region, {}))
    if not count:
        raise InputError(f"{path}: no table of tile features; expected tables/MODEL_tiles")


def _open_table(tree: ZarrTree, path: Path, name: str, region: str, spec: Any) -> Part:
    rows, size = require_dense(tree, f"tables/{name}/X")
    if tree.file(f"shapes/{region}/shapes.parquet") is None:
        raise InputError(f"{path}: shapes/{printable(region)}: no shapes.parquet with the tiles")
    instance = str(tree.attributes(f"tables/{name}").get("instance_key", "tile_id"))
    facts = Facts(
        path=str(path),
        part=name,
        tool="LazySlide",
        slide=path.name.removesuffix(path.suffix),
        encoder=name.removesuffix(f"_{region}"),
        rows=rows,
        size=size,
        has_places=True,
        **tile_facts(spec if isinstance(spec, dict) else {}),
    )
    return Part(
        facts=facts,
        blocks=partial(tree.blocks, f"tables/{name}/X", rows, size),
        places=lambda: _read_places(tree, f"tables/{name}/obs/{instance}", region, rows),
    )


def _read_places(tree: ZarrTree, ids: str, region: str, rows: int) -> Int64:
    """Read the place of each row of a table, by the id of its tile."""
    where = f"{tree.name}: shapes/{printable(region)}"
    file = tree.file(f"shapes/{region}/shapes.parquet")
    if file is None or file.stat().st_size > _MOST_BYTES:
        raise InputError(f"{where}: no shapes.parquet with the tiles")
    try:
        with open(file, "rb") as handle:
            table = pq.ParquetFile(handle).read(use_threads=False)
        places = _corners(table, where)
        tile_ids = tree.read(ids)
        own = table["tile_id"].to_numpy() if "tile_id" in table.column_names else None
        own = np.arange(len(table)) if own is None else own
        order = np.argsort(own, kind="stable")
        at = order[np.searchsorted(own, tile_ids, sorter=order).clip(0, max(len(own) - 1, 0))]
        is_found = own[at] == tile_ids
    except (pa.ArrowException, OSError, ValueError, IndexError, TypeError, MemoryError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{where}: cannot be read ({one_line(error)})") from error
    if len(tile_ids) != rows or not is_found.all():
        raise InputError(f"{where}: {len(own):,} tiles, which are not those of {rows:,} rows")
    found: Int64 = places[at]
    return found


def _corners(table: pa.Table, where: str) -> Int64:
    """Return the upper left corner of each tile, from its columns or its outline."""
    if {"x", "y"} <= set(table.column_names):
        return to_places(np.stack([table[n].to_numpy() for n in ("x", "y")], axis=1), where)
    outlines = table["geometry"].combine_chunks()
    data = b"".join(outlines.to_pylist())
    if len(data) != _WKB_BYTES * len(outlines) or set(data[::_WKB_BYTES]) - {1}:
        raise InputError(f"{where}: outlines that are no squares; expected tiles")
    heads = np.frombuffer(data, np.uint8).reshape(-1, _WKB_BYTES)[:, _WKB_HEAD:]
    points = np.ascontiguousarray(heads).view("<f8").reshape(len(outlines), 5, 2)
    return to_places(points.min(axis=1), where)
