"""The hash cache: size, times and digest of each tile file, in `hashed.parquet`.

A build goes faster by it and nothing rests on it: it is written as soon as all tiles are hashed, so
that a build that goes on after being killed has it too, and no manifest names it.
"""

import logging
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from histo_index.indexer.format.removed import LeftOut
from histo_index.indexer.format.shards import write_parquet
from histo_index.indexer.hashing.files import FileState
from histo_index.indexer.hashing.tiles import STATES, HashedTiles, hash_tiles
from histo_index.indexer.inputs.tile_list import TileList
from histo_index.slides.reading.identity import file_part

STATES_NAME: Final = "hashed.parquet"

_log = logging.getLogger(__name__)


def hash_changed(
    folder: Path,
    tiles: TileList,
    progress: Callable[[int], None],
    leave_out: Callable[[pa.Table], LeftOut],
    *,
    rehash: bool,
    settled_ns: int,
) -> tuple[HashedTiles, LeftOut]:
    """Hash tiles; read only files that changed since the cache was written.

    Args:
        folder: the index.
        tiles: what to hash.
        progress: called with the number of finished tiles.
        leave_out: finds what was removed before among the hashed tiles; the folder of the index
            must not name it, so it is read by each build.
        rehash: read all of them.
        settled_ns: files that changed more recently are read again by the next build.

    Returns:
        What tiles hold, without those left out; and what was left out.

    Raises:
        OSError: too many files are open.
    """
    before = read_states(folder)
    hashed = hash_tiles(tiles, progress, None if rehash else before, settled_ns=settled_ns)
    left = leave_out(hashed.table)
    kept = {file_part(path) for path in left.kept["path"].to_pylist()}
    states = without_paths(hashed.states, {file_part(path) for path in left.paths} - kept)
    write_states(folder, states, before=before)
    return replace(hashed, table=left.kept, states=states), left


def read_states(folder: Path) -> pa.Table:
    """Read the cache; empty if the file is missing or damaged."""
    path = folder / STATES_NAME
    try:
        with open(path, "rb") as file:
            parquet = pq.ParquetFile(file, page_checksum_verification=True)
            if parquet.schema_arrow.equals(STATES):
                return parquet.read(use_threads=False)
        _log.warning("%s: of another version; every tile is read again", path)
    except FileNotFoundError:
        pass
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:160]
        _log.warning("%s: cannot be used (%s); every tile is read again", path, reason)
    return STATES.empty_table()


def find_state(states: pa.Table, path: str) -> FileState | None:
    """Find the state of a file in the cache; None if it is not there."""
    known = states.filter(pc.equal(states["path"], path)).drop_columns(["path"]).to_pylist()
    return FileState(**known[0]) if known else None


def write_states(folder: Path, states: pa.Table, *, before: pa.Table) -> None:
    """Write the cache if it changed; a failure is only logged."""
    if states.equals(before):
        return
    try:
        write_parquet(folder / STATES_NAME, states, compression="ZSTD")
    except OSError as error:
        _log.warning(
            "%s: cannot be written (%s); the next build reads every tile again",
            folder / STATES_NAME,
            error.strerror or error,
        )


def forget_states(folder: Path, states: pa.Table, paths: Collection[str]) -> None:
    """Drop files from the cache, so that the next build reads them again."""
    files = {file_part(path) for path in paths}
    write_states(folder, without_paths(states, files), before=states)


def without_paths(states: pa.Table, paths: Collection[str]) -> pa.Table:
    """Return a table of states without some files."""
    is_meant = pc.is_in(states["path"], value_set=pa.array(list(paths), pa.string()))
    return states.filter(pc.invert(is_meant))
