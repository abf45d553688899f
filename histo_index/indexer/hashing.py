"""Hash the content of tiles, so that a build knows what is new, changed, moved or gone."""

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pyarrow as pa

from histo_index.indexer.sources import Rejection, TileList

# What the decoder refuses unread (its DecodeLimits) is not worth hashing either: a sparse file of a
# terabyte would take an hour.
MAX_BYTES: Final = 512 * 2**20
_CHUNK: Final = 1024
# Hashing waits for disks more than it computes: a few threads more than cores do no harm.
_THREADS: Final = 8
# Tiles that a thread takes at a time: to hand over one costs as much as to hash a small one.
_SHARE: Final = 32


def hash_file(path: Path | str) -> str:
    """Hash a file's bytes: hex SHA-256.

    Raises:
        OSError: it cannot be read, is a pipe or device, or larger than any tile.
    """
    with open(path, "rb", opener=_open_at_once) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(0, "not a regular file")
        if status.st_size > MAX_BYTES:
            size = f"{status.st_size:,} bytes, the limit is {MAX_BYTES:,}"
            raise OSError(errno.EFBIG, f"too large: {size}; cut it into tiles")
        return hashlib.file_digest(file, "sha256").hexdigest()


def _open_at_once(path: str, flags: int) -> int:
    # Without O_NONBLOCK opening a named pipe waits for ever for its writer.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def hash_tiles(
    tiles: TileList, progress: Callable[[int], None]
) -> tuple[pa.Table, list[Rejection]]:
    """Add the column `sha256` to the tile table.

    Args:
        tiles: what to hash.
        progress: told how many tiles are done.

    Returns:
        The table of readable tiles, and a rejection for each of the others.

    Raises:
        OSError: too many files are open.
    """
    paths = tiles.table["path"].to_pylist()
    digests: list[str | None] = []
    rejected: list[Rejection] = []
    for path, outcome in zip(paths, _outcomes(tiles.root, paths), strict=True):
        if isinstance(outcome, OSError):
            reason = f"cannot be read ({outcome.strerror or outcome})"
            rejected.append(Rejection(path=path, reason=reason))
            digests.append(None)
        else:
            digests.append(outcome)
        if len(digests) % _CHUNK == 0:
            progress(len(digests))
    progress(len(digests))
    table = tiles.table.append_column("sha256", pa.array(digests, pa.string()))
    return table.filter(table["sha256"].is_valid()), rejected


def _outcomes(root: Path, paths: list[str]) -> Iterator[str | OSError]:
    def attempt(path: str) -> str | OSError:
        try:
            return hash_file(os.path.join(root, path))
        except OSError as error:
            # A limit of this process says nothing about the tile, which must not be lost for it.
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise
            return error

    def attempt_all(start: int) -> list[str | OSError]:
        return [attempt(path) for path in paths[start : start + _SHARE]]

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="hash") as threads:
        for start in range(0, len(paths), _CHUNK):
            shares = range(start, min(start + _CHUNK, len(paths)), _SHARE)
            for found in threads.map(attempt_all, shares):
                yield from found
