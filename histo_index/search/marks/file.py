"""`marks.jsonl`, the marks of an index: lines are only ever added, and each is on disk at once."""

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from histo_index.files import UNLOCKED_PREFIX, flush_folder, naming, publish_bytes
from histo_index.indexer.format.manifest import MARKS_NAME
from histo_index.indexer.format.signed_json import read_if_there
from histo_index.search.marks.record import Mark, Undo, from_line, tiles_of, to_line

_FLAGS: Final = os.O_RDWR | os.O_APPEND | os.O_CREAT


def append_mark(folder: Path, mark: Mark) -> int:
    """Add a mark to an index; see `append_marks`."""
    return append_marks(folder, [mark])


def append_marks(folder: Path, marks: Sequence[Mark]) -> int:
    """Add marks to an index and wait until they are on disk.

    Args:
        folder: the index.
        marks: what to add.

    Returns:
        The line of the last one, from 1.

    Raises:
        OSError: the disk is full or not writable; earlier marks stand, and none of these.
    """
    path = folder / MARKS_NAME
    is_new = not path.exists()
    with _locked(path) as descriptor, naming(path):
        size = os.fstat(descriptor).st_size
        data = os.pread(descriptor, size, 0)
        # A crash may have left part of a line: it stays a separate line, which no reader takes.
        torn = b"" if not data or data.endswith(b"\n") else b"\n"
        _write(descriptor, torn + b"".join(map(to_line, marks)), size)
        os.fsync(descriptor)
    if is_new:
        flush_folder(folder)
    return data.count(b"\n") + len(torn) + len(marks)


def read_marks(folder: Path) -> list[Mark | None]:
    """Read the marks of an index by line; None where a crash left part of a line.

    Raises:
        IndexFormatError: the file cannot be read.
    """
    data = read_if_there(folder / MARKS_NAME) or b""
    return [from_line(line) for line in data.splitlines()]


def erase_marks(folder: Path, contents: Collection[str]) -> int:
    """Erase what was said of some tiles.

    Later lines name earlier ones by number, so each erased line stays, as one that takes itself
    back and says nothing.

    Args:
        folder: the index.
        contents: SHA-256 of the tiles.

    Returns:
        How many marks were erased.

    Raises:
        OSError: the disk is full or not writable; the marks stand.
    """
    path = folder / MARKS_NAME
    if not path.exists():
        return 0
    with _locked(path) as descriptor:
        data = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        lines, erased = data.splitlines(), 0
        for number, line in enumerate(lines, start=1):
            mark = from_line(line)
            tiles = () if mark is None else tiles_of(mark)
            # A damaged line may hold anything.
            if mark is None or any(tile in contents for tile in tiles):
                lines[number - 1] = to_line(Undo(line=number, user=None, time="")).rstrip()
                erased += 1
        if erased:
            data = b"".join(line + b"\n" for line in lines)
            publish_bytes(path, data, prefix=UNLOCKED_PREFIX)
    return erased


def _write(descriptor: int, data: bytes, size: int) -> None:
    """Write lines whole, or leave the file as it was."""
    try:
        written = 0
        while written < len(data):
            written += os.write(descriptor, data[written:])
    except OSError:
        os.ftruncate(descriptor, size)
        raise


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """Open a file for adding; other processes that add to it wait."""
    descriptor = os.open(path, _FLAGS, 0o644)
    try:
        try:
            import fcntl
        except ImportError:  # Windows
            pass
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            while not os.path.samestat(os.fstat(descriptor), os.stat(path)):  # replaced meanwhile
                os.close(descriptor)
                descriptor = os.open(path, _FLAGS, 0o644)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)
