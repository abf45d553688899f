"""A slide is hashed whole, and given up when its disk delivers nothing any more."""

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from histo_index.indexer.hashing.whole import hash_whole


@pytest.mark.parametrize("size", [0, 1, 2**18, 3 * 2**18 + 5])
def test_a_file_is_hashed_whole(tmp_path: Path, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    (tmp_path / "a.svs").write_bytes(data[:size])
    assert hash_whole(tmp_path / "a.svs") == hashlib.sha256(data[:size]).hexdigest()


def test_a_file_whose_disk_stands_still_is_given_up() -> None:
    is_over = threading.Event()

    def stall(path: Path) -> Iterator[bytes]:
        yield b"the first block"
        is_over.wait()

    with pytest.raises(TimeoutError, match=r"nothing was read for 0\.01 s; check its disk or net"):
        hash_whole(Path("a.svs"), still_s=0.01, read=stall)
    is_over.set()


def test_what_cannot_be_read_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        hash_whole(tmp_path / "missing.svs")
    with pytest.raises(IsADirectoryError):
        hash_whole(tmp_path)


def test_no_error_leaves_the_hash_of_what_was_read_before_it() -> None:
    def fail(path: Path) -> Iterator[bytes]:
        yield b"the first block"
        raise MemoryError(path.name)

    with pytest.raises(MemoryError, match=r"a\.svs"):
        hash_whole(Path("a.svs"), read=fail)
