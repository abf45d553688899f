"""Hash the content of tiles, so that a build knows what is new, changed, moved or gone.

A file whose size, inode and times are as they were when it was hashed is not read again: where a
file system keeps the time of a file's last change, no program can set it.
"""

import errno
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from histo_index.indexer.format.shards import Rejection
from histo_index.indexer.inputs.tiles import TileList

# What the decoder refuses unread (its DecodeLimits) is not worth hashing either: a sparse file of a
# terabyte would take an hour.
MAX_BYTES: Final = 512 * 2**20
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
_INODE_BITS: Final = 2**64 - 1


class FileState(NamedTuple):
    """A file when it was hashed.

    Attributes:
        bytes: its size.
        modified: when its content was last written, ns since 1970; programs may set it.
        changed: when anything of it last changed, ns since 1970; on Windows, when it was made.
        inode: its number in its file system.
        sha256: hex digest of its content.
    """

    bytes: int
    modified: int
    changed: int
    inode: int
    sha256: str


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


def hash_file(path: Path | str) -> str:
    """Hash a file's bytes: hex SHA-256.

    Raises:
        OSError: it cannot be read, is a pipe or device, or larger than any tile.
    """
    return _look(path).sha256


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
    latest = time.time_ns() - settled_ns
    digests: list[str | None] = []
    rejected: list[Rejection] = []
    states = [STATES.empty_table()]
    for paths, outcomes in _outcomes(tiles, STATES.empty_table() if known is None else known):
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
    table = tiles.table.append_column("sha256", pa.array(digests, pa.string()))
    return HashedTiles(
        table=table.filter(table["sha256"].is_valid()),
        rejected=rejected,
        states=pa.concat_tables(states),
    )


def _outcomes(
    tiles: TileList, known: pa.Table
) -> Iterator[tuple[list[str], list[FileState | OSError]]]:
    """Read the state of every file, a chunk at a time: paths and states."""

    def attempt(path: str, before: FileState | None) -> FileState | OSError:
        try:
            return _look(os.path.join(tiles.root, path), before)
        except OSError as error:
            # A limit of this process says nothing about the tile, which must not be lost for it.
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise
            return error

    def attempt_all(share: Sequence[tuple[str, FileState | None]]) -> list[FileState | OSError]:
        return [attempt(*entry) for entry in share]

    paths = tiles.table["path"]
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


def _look(path: str | Path, before: FileState | None = None) -> FileState:
    """Hash a file, unless it is as it was."""
    if before is not None and read_marks(os.stat(path)) == before[:-1]:
        return before
    with open(path, "rb", opener=_open_at_once) as file:
        # Not after reading: of a file that changes meanwhile this is the state no more.
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(0, "not a regular file")
        if status.st_size > MAX_BYTES:
            size = f"{status.st_size:,} bytes, the limit is {MAX_BYTES:,}"
            raise OSError(errno.EFBIG, f"too large: {size}; cut it into tiles")
        return FileState(*read_marks(status), hashlib.file_digest(file, "sha256").hexdigest())


def read_marks(status: os.stat_result) -> tuple[int, int, int, int]:
    """Return size, times and inode of a file: the fields of `FileState` before the digest."""
    inode = status.st_ino & _INODE_BITS
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, inode


def _open_at_once(path: str, flags: int) -> int:
    # Without O_NONBLOCK opening a named pipe waits for ever for its writer.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
