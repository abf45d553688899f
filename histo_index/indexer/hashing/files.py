"""Hash tile files and slides, unless they are as they were when they were hashed.

A file whose size, inode and times are as they were when it was hashed is not read again: where a
file system keeps the time of a file's last change, no program can set it.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from histo_index.indexer.hashing.whole import hash_whole, open_at_once
from histo_index.slides.reading.identity import SlideTile, parse_tile, reading_version

# What the decoder refuses unread (its DecodeLimits) is not worth hashing either: a sparse file of a
# terabyte would take an hour.
MAX_BYTES: Final = 512 * 2**20
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


# Slides that this process has hashed: path to state.
_SLIDES: Final[dict[str, "FileState"]] = {}


def hash_file(path: Path | str) -> str:
    """Hash a tile: hex SHA-256 of a file's bytes, or of a slide and a position in it.

    Raises:
        OSError: it cannot be read, is a pipe or device, or larger than any tile.
    """
    tile = parse_tile(path)
    if tile is None:
        return look_at_file(path).sha256
    return tile_digest(look_at_slide(tile.slide, _SLIDES.get(tile.slide)).sha256, tile)


def tile_digest(slide_digest: str, tile: SlideTile) -> str:
    """Return the digest of a slide tile: of the slide, its reader and the position."""
    return hashlib.sha256(
        f"{slide_digest} {reading_version()} {tile.position}".encode()
    ).hexdigest()


def look_at_file(path: str | Path, before: FileState | None = None) -> FileState:
    """Hash a file, unless it is as it was; OSError if it cannot be read."""
    if before is not None and read_marks(os.stat(path)) == before[:-1]:
        return before
    with open(path, "rb", opener=open_at_once) as file:
        # Not after reading: of a file that changes meanwhile this is the state no more.
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(0, "not a regular file")
        if status.st_size > MAX_BYTES:
            size = f"{status.st_size:,} bytes, the limit is {MAX_BYTES:,}"
            raise OSError(errno.EFBIG, f"too large: {size}; cut it into tiles")
        return FileState(*read_marks(status), hashlib.file_digest(file, "sha256").hexdigest())


def look_at_slide(path: str | Path, before: FileState | None = None) -> FileState:
    """Hash a slide: a file, a folder, or a file with the folder of its name; however large.

    Raises:
        OSError: it cannot be read.
    """
    parts = _parts(Path(path))
    marks = _join_marks([read_marks(os.stat(part)) for part in parts])
    if before is None or marks != before[:-1]:
        contents = [hash_whole(part) for part in parts]
        joined = hashlib.sha256("".join(contents).encode()).hexdigest()
        # A slide of one file has the digest of that file.
        before = FileState(*marks, contents[0] if len(contents) == 1 else joined)
    _SLIDES[str(path)] = before
    return before


def slide_marks(path: Path) -> tuple[int, int, int, int]:
    """Return size, times and inode of a slide, which change with it.

    Raises:
        OSError: it is out of reach.
    """
    return _join_marks([read_marks(os.stat(part)) for part in _parts(path)])


def _parts(path: Path) -> list[Path]:
    """List the files of a slide, in a fixed order."""
    if path.is_dir():
        return sorted(part for part in path.iterdir() if part.is_file())
    data = path.with_suffix("")
    own = data.iterdir() if path.suffix.lower() == ".mrxs" and data.is_dir() else ()
    return [path, *sorted(part for part in own if part.is_file())]


def _join_marks(marks: Sequence[tuple[int, int, int, int]]) -> tuple[int, int, int, int]:
    sizes, modified, changed, inodes = zip(*marks, strict=True)
    return sum(sizes), max(modified), max(changed), sum(inodes) & _INODE_BITS


def read_marks(status: os.stat_result) -> tuple[int, int, int, int]:
    """Return size, times and inode of a file: the fields of `FileState` before the digest."""
    inode = status.st_ino & _INODE_BITS
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, inode
