"""Hash the content of tiles, so that a build knows what is new, changed, moved or gone."""

import errno
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from histo_index.indexer.format.shards import Rejection
from histo_index.indexer.hashing.files import FileState, look_at_file, look_at_slide, tile_digest
from histo_index.indexer.inputs.tile_list import TileList
from histo_index.slides.reading.identity import parse_tile

_CHUNK: Final = 1024
# Hashing waits for disks more than it computes: a few threads more than cores do no harm.
_THREADS: Final = 8
# Tiles that a thread takes at a time: to hand over one costs as much as to hash a small one.
_SHARE: Final = 32
# A file that changes twice within one tick of its clock, hashed in between, looks as if it had
# changed once: what changed so shortly before it was looked at is read again. The coarsest clock,
# FAT's, ticks every 2 s. Source: "racy git" in git's technical documentation.
SETTLED_NS: Final = 4_000_000_000
# The year 1677: what the table holds no earlier than. A disk that Windows wrote may say 1601.
_EARLIEST_NS: Final = -(2**63)

# Of a table of states.
STATES: Final = pa.schema(
    {
        "path": pa.string(),
        "bytes": pa.int64(),
        "modified": pa.int64(),
        "changed": pa.int64(),
        "inode": pa.uint64(),
        "sha256": pa.string(),
    }
)


@dataclass(frozen=True, kw_only=True)
class HashedTiles:
    """What tiles hold.

    Attributes:
        table: the readable ones, as listed, and a column `sha256`.
        rejected: the others, with the reason.
        states: of the readable ones that had not changed just before, for the next look.
    """

    table: pa.Table
    rejected: list[Rejection]
    states: pa.Table


def hash_tiles(
    tiles: TileList,
    progress: Callable[[int], None],
    known: pa.Table | None = None,
    *,
    settled_ns: int = SETTLED_NS,
) -> HashedTiles:
    """Hash tiles; read only files whose state is not known.

    Args:
        tiles: the tiles to hash.
        progress: called with the number of finished tiles.
        known: `states` of an earlier call.
        settled_ns: the state of a file that changed more recently is not returned.

    Raises:
        OSError: too many files are open.
    """
    files = _Files(tiles)
    latest = time.time_ns() - settled_ns
    digests: list[str | None] = []
    rejected: list[Rejection] = []
    states = [STATES.empty_table()]
    for paths, outcomes in _outcomes(files, STATES.empty_table() if known is None else known):
        settled: list[tuple[object, ...]] = []
        for path, outcome in zip(paths, outcomes, strict=True):
            if isinstance(outcome, OSError):
                reason = f"cannot be read ({outcome.strerror or outcome})"
                rejected.append(Rejection(path=path, reason=reason))
                digests.append(None)
                continue
            digests.append(outcome.sha256)
            times = outcome.modified, outcome.changed
            if min(times) >= _EARLIEST_NS and max(times) < latest:
                settled.append((path, *outcome))
        if settled:
            columns = [list(column) for column in zip(*settled, strict=True)]
            states.append(pa.table(columns, schema=STATES))
        progress(len(digests))
    table = files.add_digests(digests)
    return HashedTiles(
        table=table.filter(table["sha256"].is_valid()),
        rejected=rejected,
        states=pa.concat_tables(states),
    )


class _Files:
    """The files that hold tiles: a slide is one, however many tiles it has.

    Attributes:
        root: the folder that their paths start from.
        paths: of the files, in order.
        slides: those of them that are slides.
    """

    def __init__(self, tiles: TileList) -> None:
        self.root = tiles.root
        self._table = tiles.table
        self._regions = {
            path: tile for path in tiles.table["path"].to_pylist() if (tile := parse_tile(path))
        }
        self.slides = {tile.slide for tile in self._regions.values()}
        self.paths = tiles.table["path"]
        if self._regions:
            names = (self._file_of(path) for path in self.paths.to_pylist())
            self.paths = pa.chunked_array([list(dict.fromkeys(names))], pa.string())

    def add_digests(self, digests: Sequence[str | None]) -> pa.Table:
        """Return the tiles with a column `sha256`, from the digests of the files."""
        if self._regions:
            known = dict(zip(self.paths.to_pylist(), digests, strict=True))
            digests = [self._digest(path, known) for path in self._table["path"].to_pylist()]
        return self._table.append_column("sha256", pa.array(digests, pa.string()))

    def _file_of(self, path: str) -> str:
        tile = self._regions.get(path)
        return path if tile is None else tile.slide

    def _digest(self, path: str, known: Mapping[str, str | None]) -> str | None:
        tile, digest = self._regions.get(path), known[self._file_of(path)]
        return digest if tile is None or digest is None else tile_digest(digest, tile)


def _outcomes(
    tiles: _Files, known: pa.Table
) -> Iterator[tuple[list[str], list[FileState | OSError]]]:
    """Read the state of every file, a chunk at a time: paths and states."""

    def attempt(path: str, before: FileState | None) -> FileState | OSError:
        try:
            place = os.path.join(tiles.root, path)
            return (look_at_slide if path in tiles.slides else look_at_file)(place, before)
        except OSError as error:
            # A limit of this process says nothing about the tile, which must not be lost for it.
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise
            return error

    def attempt_all(share: Sequence[tuple[str, FileState | None]]) -> list[FileState | OSError]:
        return [attempt(*entry) for entry in share]

    paths = tiles.paths
    # A row for each path, empty where nothing is known of it.
    before = known.drop("path").take(pc.index_in(paths, value_set=known["path"]))
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="hash") as threads:
        for start in range(0, len(paths), _CHUNK):
            some = paths[start : start + _CHUNK].to_pylist()
            columns = [column.to_pylist() for column in before[start : start + _CHUNK].columns]
            rows = zip(*columns, strict=True)
            states = (FileState(*row) if row[0] is not None else None for row in rows)
            entries = list(zip(some, states, strict=True))
            shares = [entries[at : at + _SHARE] for at in range(0, len(entries), _SHARE)]
            yield some, list(chain.from_iterable(threads.map(attempt_all, shares)))
