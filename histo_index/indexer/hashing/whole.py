"""Hash a large file, and give up when its disk delivers nothing any more."""

import errno
import hashlib
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from histo_index.limits import STILL_S

_BLOCK_BYTES: Final = 2**18


def hash_whole(
    path: Path,
    *,
    still_s: float = STILL_S,
    read: "Callable[[Path], Iterator[Any]] | None" = None,
) -> str:
    """Hash a file, however large: hex SHA-256.

    Args:
        path: the file.
        still_s: seconds without a block after which to give up, at most twice as long.
        read: reads its blocks; by default `read_whole`.

    Raises:
        OSError: it cannot be read, or is a pipe or device.
        TimeoutError: nothing comes any more. The thread that waits for it ends with the process.
    """
    reading = _Reading(path, read or read_whole)
    reading.start()
    seen = 0
    while not reading.is_done.wait(still_s):
        if reading.blocks == seen:
            reason = f"nothing was read for {still_s:g} s; check its disk or network share"
            raise TimeoutError(errno.ETIMEDOUT, reason)
        seen = reading.blocks
    if reading.error is not None:
        raise reading.error
    return reading.digest.hexdigest()


def read_whole(path: Path) -> Iterator[memoryview]:
    """Read a regular file; each block is valid until the next.

    Raises:
        OSError: it cannot be read, or is a pipe or device.
    """
    buffer = memoryview(bytearray(_BLOCK_BYTES))
    with open(path, "rb", buffering=0, opener=open_at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(0, "not a regular file")
        while size := file.readinto(buffer):
            yield buffer[:size]


def open_at_once(path: str, flags: int) -> int:
    """Open a file; a named pipe is not waited for."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


class _Reading(threading.Thread):
    """Hashes a file in a thread that nobody needs to wait for."""

    def __init__(self, path: Path, read: Callable[[Path], Iterator[Any]]) -> None:
        super().__init__(name="hash-whole", daemon=True)
        self._path, self._read = path, read
        self.digest = hashlib.sha256()
        self.blocks = 0
        self.error: Exception | None = None
        self.is_done = threading.Event()

    def run(self) -> None:
        try:
            for block in self._read(self._path):
                self.digest.update(block)
                self.blocks += 1
        except Exception as error:
            self.error = error
        finally:
            self.is_done.set()
