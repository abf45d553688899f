"""Publish files whole or not at all: temporary name, flush, rename, flush the folder.

An explicit close inside the protected block matters: without it a full disk was seen to be reported
too late, after an empty file had been renamed into place.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

TEMPORARY_PREFIX: Final = ".tmp-"


@contextmanager
def publishing(final: Path, *, first_wins: bool = False) -> Iterator[Path]:
    """Give a temporary path to write to; on success it becomes `final`, on failure it is removed.

    The file is flushed to disk before its name is, and the folder after it.

    Args:
        final: the name to publish under.
        first_wins: keep a file that is already there instead of replacing it.

    Raises:
        OSError: the disk is full or the folder not writable; nothing is visible under `final`.
    """
    make_folder(final.parent)
    temporary = final.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(6)}-{final.name}")
    try:
        yield temporary
        flush_file(temporary)
        if first_wins:
            _link_if_free(temporary, final)
        else:
            os.replace(temporary, final)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    flush_folder(final.parent)


def publish_bytes(final: Path, data: bytes, *, first_wins: bool = False) -> None:
    """Write a small file whole or not at all; see `publishing`."""
    with publishing(final, first_wins=first_wins) as temporary, open(temporary, "wb") as file:
        file.write(data)


def make_folder(path: Path) -> None:
    """Create a folder and those above it; their names are on disk before anything is in them."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    flush_folder(path.parent)


def _link_if_free(temporary: Path, final: Path) -> None:
    try:
        os.link(temporary, final)
    except FileExistsError:
        pass
    except OSError:
        # No hard links here (exFAT, some network folders). The lock still keeps writers apart.
        if not final.exists():
            os.replace(temporary, final)
            return
    temporary.unlink()


def flush_file(path: Path) -> None:
    """Wait until a file's bytes are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_folder(path: Path) -> None:
    """Wait until a folder's names are on disk."""
    if os.name == "nt":  # Windows has no handle on a folder to flush.
        return
    flush_file(path)


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files of writers that were killed; only the holder of the lock may call."""
    for path in folder.rglob(f"{TEMPORARY_PREFIX}*"):
        path.unlink(missing_ok=True)
