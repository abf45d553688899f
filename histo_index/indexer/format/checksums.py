"""Checksums against damage: XXH3, which reads as fast as memory (sha256 is 15 times slower).

They guard against flipped bits and truncation, not against somebody who can rewrite both a file
and the manifest.
"""

import io
import mmap
import os
from pathlib import Path
from typing import IO, Any, Final

import xxhash

from histo_index.errors import IndexFormatError
from histo_index.files import naming
from histo_index.wording import counted

_READ_BYTES: Final = 2**22


class DamagedError(IndexFormatError):
    """A file is missing or damaged: what it held must be written again."""


def checksum(data: Any) -> str:
    """Hash a buffer: 32 hex digits of XXH3-128."""
    return xxhash.xxh3_128_hexdigest(data)


def file_checksum(path: Path) -> str:
    """Hash a file as `checksum` hashes its bytes, in constant memory."""
    digest = xxhash.xxh3_128()
    with open(path, "rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


class HashingFile(io.RawIOBase):
    """Hashes what is written to a new file, as `checksum` does: it need not be read again."""

    def __init__(self, file: IO[bytes]) -> None:
        """Write to an open file, which stays open."""
        self._file = file
        self._digest = xxhash.xxh3_128()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._digest.update(data)
        return self._file.write(data)

    def checksum(self) -> str:
        """Return the checksum of all that was written."""
        return self._digest.hexdigest()


def require_whole(path: Path, *, data: Any, size: int, expected: str, remedy: str) -> None:
    """Refuse bytes that are not those that were written.

    Args:
        path: how the message calls the file.
        data: the bytes found.
        size: the number of bytes written.
        expected: their checksum when they were written.
        remedy: what to do about it, for the end of the message.

    Raises:
        DamagedError: size or checksum differ; both values are in the message.
    """
    require_size(path, found=len(data), expected=size, remedy=remedy)
    found = checksum(data)
    if found != expected:
        raise DamagedError(f"{path}: damaged: checksum {found}, expected {expected}; {remedy}")


def require_size(path: Path, *, found: int, expected: int, remedy: str) -> None:
    """Refuse a file of another size than was written, before it is mapped or read."""
    if found != expected:
        raise DamagedError(
            f"{path}: damaged: {counted(found, 'byte')}, expected {expected:,}; {remedy}"
        )


class MappedFile:
    """A file held open and mapped: it keeps answering after its name is gone."""

    def __init__(self, path: Path, *, size: int, remedy: str) -> None:
        """Open a file of a known size.

        Raises:
            FileNotFoundError: there is no such file.
            DamagedError: it has another size.
        """
        self.path, self.remedy = path, remedy
        self._size = size
        with open(path, "rb") as file:
            found = os.fstat(file.fileno()).st_size
            require_size(path, found=found, expected=size, remedy=remedy)
            # An empty file cannot be mapped.
            with naming(path):
                self.data: Any = (
                    mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
                )

    def require_size(self) -> None:
        """Refuse a file that was cut since: to read what is no longer there ends the process.

        Raises:
            DamagedError: it has another size now.
        """
        # Asked for every file at every query, so that a file of the right size costs little.
        if self._size and (found := self.data.size()) != self._size:
            require_size(self.path, found=found, expected=self._size, remedy=self.remedy)
