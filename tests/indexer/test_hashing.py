"""Hashing tiles: what cannot be read is rejected with the reason, and nothing waits for ever."""

import gc
import hashlib
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from histo_index.indexer.hashing import hash_file, hash_tiles
from histo_index.indexer.sources import Rejection, TileList, list_tiles
from tests.indexer.fakes import is_root, write_tiles


def test_a_file_is_hashed_as_sha_256_of_its_bytes(tmp_path: Path) -> None:
    data = bytes(range(256)) * 1000
    (tmp_path / "a.png").write_bytes(data)
    (tmp_path / "empty.png").touch()
    assert hash_file(tmp_path / "a.png") == hashlib.sha256(data).hexdigest()
    assert hash_file(tmp_path / "empty.png") == hashlib.sha256(b"").hexdigest()


def test_pipes_devices_folders_and_missing_files_are_rejected_and_none_hangs(
    tmp_path: Path,
) -> None:
    write_tiles(tmp_path, ["a.png", "z.png"])
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "folder.png").mkdir()
    names = ["a.png", "folder.png", "gone.png", "pipe.png", "z.png", "zero.png"]
    tiles = TileList(
        root=tmp_path, table=pa.table({"image_id": names, "path": names, "n": range(6)})
    )
    done: list[int] = []
    table, rejected = hash_tiles(tiles, done.append)
    assert table.to_pydict() == {
        "image_id": ["a.png", "z.png"],
        "path": ["a.png", "z.png"],
        "n": [0, 4],
        "sha256": [hashlib.sha256(f"tile {n}.png".encode()).hexdigest() for n in "az"],
    }
    assert rejected == [
        Rejection(path="folder.png", reason="cannot be read (Is a directory)"),
        Rejection(path="gone.png", reason="cannot be read (No such file or directory)"),
        Rejection(path="pipe.png", reason="cannot be read (not a regular file)"),
        Rejection(path="zero.png", reason="cannot be read (not a regular file)"),
    ]
    assert done[-1] == 6


def test_a_pipe_in_a_folder_of_tiles_is_listed_and_then_rejected(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    table, rejected = hash_tiles(list_tiles([tmp_path]), lambda done: None)
    assert len(table) == 0
    assert rejected == [Rejection(path="pipe.png", reason="cannot be read (not a regular file)")]


@pytest.mark.skipif(not is_root(), reason="only root can make a device")
def test_a_device_called_an_image_is_rejected(tmp_path: Path) -> None:
    try:
        os.mknod(tmp_path / "device.png", 0o20600, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("this machine lets nobody make a device")
    _, rejected = hash_tiles(list_tiles([tmp_path]), lambda done: None)
    assert len(rejected) == 1
    assert rejected[0].path == "device.png"
    assert rejected[0].reason.startswith("cannot be read (")


def test_a_file_without_permission_is_rejected(
    open_folder: Path, drop_root: Callable[[], None]
) -> None:
    write_tiles(open_folder, ["a.png", "closed.png"])
    (open_folder / "closed.png").chmod(0)
    drop_root()
    table, rejected = hash_tiles(list_tiles([open_folder]), lambda done: None)
    assert table["path"].to_pylist() == ["a.png"]
    assert rejected == [Rejection(path="closed.png", reason="cannot be read (Permission denied)")]


def test_refusing_a_file_leaves_none_open(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    gc.collect()  # what other tests left open is closed now, not in between
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in range(20):
        for name in ("pipe", ".", "missing"):
            with pytest.raises(OSError):
                hash_file(tmp_path / name)
    after = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    assert after == before


def test_hashing_holds_no_file_in_memory(tmp_path: Path) -> None:
    size = 8 * 2**20
    for number in range(16):
        with open(tmp_path / f"{number}.png", "wb") as file:
            file.truncate(size)
    tiles = list_tiles([tmp_path])
    tracemalloc.start()
    table, _ = hash_tiles(tiles, lambda done: None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert table["sha256"].to_pylist() == [hashlib.sha256(bytes(size)).hexdigest()] * 16
    # Eight threads with a buffer of 256 KB each; one file alone would be 8 MB.
    assert peak < size / 2


def test_progress_is_told_in_steps_and_at_the_end(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(2500)]
    tiles = TileList(root=tmp_path, table=pa.table({"image_id": names, "path": names}))
    done: list[int] = []
    _, rejected = hash_tiles(tiles, done.append)
    assert done == [1024, 2048, 2500]
    assert [entry.path for entry in rejected] == names
