"""Publish files whole or not at all: temporary name, flush, rename, flush the folder.

An explicit close inside the protected block matters: without it a full disk was seen to be reported
too late, after an empty file had been renamed into place.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

TEMPORARY_PREFIX: Final = ".tmp-"
# Of a file that is written without the lock of the index it lies in.
UNLOCKED_PREFIX: Final = ".new-"
# Such a file is written within seconds: an older one was left by a writer that was killed.
_ABANDONED_S: Final = 3600


@contextmanager
def publishing(
    final: Path, *, first_wins: bool = False, prefix: str = TEMPORARY_PREFIX
) -> Iterator[Path]:
    """Give a temporary path to write to; on success it becomes `final`, on failure it is removed.

    The file is flushed to disk before its name is, and the folder after it.

    Args:
        final: the name to publish under.
        first_wins: keep a file that is already there instead of replacing it.
        prefix: of the temporary name; UNLOCKED_PREFIX in an index that another process may hold,
            because its holder removes the other ones.

    Raises:
        OSError: the disk is full or the folder not writable, with `final` as its filename; nothing
            is visible there.
    """
    make_folder(final.parent)
    temporary = final.with_name(f"{prefix}{os.urandom(6).hex()}-{final.name}")
    try:
        yield temporary
        flush_file(temporary)
        if first_wins:
            _link_if_free(temporary, final)
        else:
            os.replace(temporary, final)
    except BaseException as error:
        # Report what went wrong, not that the temporary file cannot be removed either.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and _is_about(error, temporary):
            # The name that was to be, not the temporary one, nor that of a file it is copied from.
            raise OSError(error.errno, error.strerror, str(final)) from error
        raise
    flush_folder(final.parent)


def _is_about(error: OSError, path: Path) -> bool:
    names = {error.filename, error.filename2}
    return error.errno is not None and (names == {None} or str(path) in names)


def publish_bytes(
    final: Path, data: bytes, *, first_wins: bool = False, prefix: str = TEMPORARY_PREFIX
) -> None:
    """Write a small file whole or not at all; see `publishing`."""
    with (
        publishing(final, first_wins=first_wins, prefix=prefix) as temporary,
        open(temporary, "wb") as file,
    ):
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


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add the path of a file to an OSError: writing and flushing know only its descriptor."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def flush_file(path: Path) -> None:
    """Wait until a file's bytes are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with naming(path):
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
    remove_abandoned(folder)


def remove_abandoned(folder: Path) -> None:
    """Remove old files of writers without a lock, which were killed; anyone may call."""
    for path in folder.glob(f"{UNLOCKED_PREFIX}*"):
        with suppress(FileNotFoundError):  # finished meanwhile
            if time.time() - path.stat().st_mtime > _ABANDONED_S:
                path.unlink()
