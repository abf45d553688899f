"""`map.parquet`: the map of an index. Its checksum covers every value, and what made it."""

import json
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from histo_index.arrays import Bools, Float32
from histo_index.files import UNLOCKED_PREFIX, flush_folder, remove_abandoned
from histo_index.indexer.format.checksums import DamagedError, checksum
from histo_index.indexer.format.manifest import MAP_NAME, read_manifest
from histo_index.indexer.format.removed import read_removed
from histo_index.indexer.format.shards import write_parquet
from histo_index.indexer.format.signed_json import read_if_there, seal, unseal
from histo_index.search.maps.tile_map import MapFacts, TileMap

MAP_VERSION: Final = 1
_KIND: Final = "histo-index map"
_REMEDY: Final = "run `histo-index map` again, which lays all tiles out"
_SCHEMA: Final = pa.schema(
    [
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("x", pa.float32(), nullable=False),
        pa.field("y", pa.float32(), nullable=False),
        pa.field("nearest", pa.float32(), nullable=False),
        pa.field("is_placed", pa.bool_(), nullable=False),
    ]
)
_FACTS: Final = b"histo_index"


def read_map(folder: Path) -> TileMap | None:
    """Read the map of an index; None if there is none.

    Raises:
        DamagedError: it is not as it was written.
        IndexFormatError: it is too new, or cannot be read.
    """
    path = folder / MAP_NAME
    if (data := read_if_there(path)) is None:
        return None
    table = _parse(path, data)
    facts = (table.schema.metadata or {}).get(_FACTS, b"")
    body = unseal(path, facts, kind=_KIND, newest=MAP_VERSION, remedy=_REMEDY)
    if table.schema.remove_metadata() != _SCHEMA:
        raise DamagedError(f"{path}: damaged: columns are not those of a map; {_REMEDY}")
    found, expected = _digest(table), body.pop("data")
    if found != expected:
        raise DamagedError(f"{path}: damaged: checksum {found}, expected {expected}; {_REMEDY}")
    is_placed: Bools = table["is_placed"].to_numpy()
    return TileMap(
        facts=MapFacts(**body),
        contents=table["sha256"].combine_chunks(),
        points=np.stack([_floats(table, "x"), _floats(table, "y")], axis=1),
        nearest=_floats(table, "nearest"),
        is_placed=is_placed,
    )


def store_map(folder: Path, tile_map: TileMap) -> None:
    """Write the map of an index whole or not at all.

    It takes no lock, so that hours of work do not fail for a build that goes on. What is purged
    meanwhile is purged from it too: either `remove` finds it in the file, or it is found here.

    Raises:
        OSError: the disk is full or not writable; the old map stands.
    """
    table = pa.table(
        [
            tile_map.contents, pa.array(tile_map.points[:, 0]), pa.array(tile_map.points[:, 1]),
            pa.array(tile_map.nearest), pa.array(tile_map.is_placed),
        ],
        schema=_SCHEMA,
    )  # fmt: skip
    body = {**asdict(tile_map.facts), "data": _digest(table)}
    sealed = seal(_KIND, body, version=MAP_VERSION)
    stored = table.replace_schema_metadata({_FACTS: sealed})
    remove_abandoned(folder)
    write_parquet(folder / MAP_NAME, stored, prefix=UNLOCKED_PREFIX)
    erase_places(folder, read_removed(folder, read_manifest(folder)).purged)


def erase_places(folder: Path, contents: Collection[str]) -> int:
    """Erase the places of some tiles from the map of an index; a damaged map goes as a whole.

    Args:
        folder: the index.
        contents: SHA-256 of the tiles.

    Returns:
        How many places were erased.

    Raises:
        OSError: the disk is full or not writable; the map stands.
    """
    if not contents:
        return 0
    try:
        stored = read_map(folder)
    except DamagedError:  # it may hold anything
        (folder / MAP_NAME).unlink(missing_ok=True)
        flush_folder(folder)
        return 0
    if stored is None:
        return 0
    left = stored.without(pa.array(sorted(contents), pa.string()))
    if len(left) < len(stored):
        store_map(folder, left)
    return len(stored) - len(left)


def _parse(path: Path, data: bytes) -> pa.Table:
    import pyarrow.parquet as pq  # here, because looking up a tile needs no Parquet

    try:
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        return file.read(use_threads=False)
    # A damaged footer may name anything: a column that is not there, a text that is none.
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise DamagedError(f"{path}: damaged ({reason}); {_REMEDY}") from error


def _digest(table: pa.Table) -> str:
    """Hash the values, which do not depend on how they are packed."""
    parts: list[Any] = [json.dumps(table["sha256"].to_pylist()).encode()]
    parts += [table[name].to_numpy().tobytes() for name in _SCHEMA.names[1:]]
    return checksum(b"".join(parts))


def _floats(table: pa.Table, name: str) -> Float32:
    found: Float32 = table[name].to_numpy()
    return found
