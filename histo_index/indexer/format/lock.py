"""One writer at a time: a lock the system drops when its holder dies."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from histo_index.errors import LockedError
from histo_index.files import naming

LOCK_NAME: Final = "lock"


@contextmanager
def writer_lock(folder: Path) -> Iterator[None]:
    """Lock the index for writing.

    Raises:
        LockedError: another process holds it; the message names process and host.
    """
    path = folder / LOCK_NAME
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    # Unbuffered: a full disk is noticed here, and not once more when the file is closed.
    with open(descriptor, "r+b", buffering=0) as file:
        if not _take(file):
            found = _holder(file.read().decode(errors="replace"))
            raise LockedError(f"{folder} is being written by {found}; wait for it or stop it")
        since = datetime.now(UTC).isoformat(timespec="seconds")
        holder = {"process": os.getpid(), "host": socket.gethostname(), "since": since}
        with naming(path):
            file.truncate(0)
            file.write(json.dumps(holder).encode())
        yield


def _take(file: Any) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        except OSError:
            return False
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(text: str) -> str:
    try:
        holder = json.loads(text)
        return f"process {holder['process']} on host {holder['host']} since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process that has just started"
