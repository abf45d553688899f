"""Hashing tiles: what cannot be read is rejected with the reason, and nothing waits for ever.

What is as it was is not read: told by a digest that no content has.
"""

import gc
import hashlib
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from histo_index.indexer.format.shards import Rejection
from histo_index.indexer.hashing import files
from histo_index.indexer.hashing.files import hash_file
from histo_index.indexer.hashing.tiles import STATES, hash_tiles
from histo_index.indexer.inputs.tile_list import TileList
from histo_index.indexer.inputs.tiles import list_tiles
from tests.indexer.fakes import UNCHANGED_NS, is_root, write_tiles


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
    hashed = hash_tiles(tiles, done.append)
    assert hashed.table.to_pydict() == {
        "image_id": ["a.png", "z.png"],
        "path": ["a.png", "z.png"],
        "n": [0, 4],
        "sha256": [hashlib.sha256(f"tile {n}.png".encode()).hexdigest() for n in "az"],
    }
    assert hashed.rejected == [
        Rejection(path="folder.png", reason="cannot be read (Is a directory)"),
        Rejection(path="gone.png", reason="cannot be read (No such file or directory)"),
        Rejection(path="pipe.png", reason="cannot be read (not a regular file)"),
        Rejection(path="zero.png", reason="cannot be read (not a regular file)"),
    ]
    assert done[-1] == 6


def test_a_pipe_in_a_folder_of_tiles_is_listed_and_then_rejected(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    hashed = hash_tiles(list_tiles([tmp_path]), lambda done: None)
    assert len(hashed.table) == 0
    assert hashed.rejected == [
        Rejection(path="pipe.png", reason="cannot be read (not a regular file)")
    ]


@pytest.mark.skipif(not is_root(), reason="only root can make a device")
def test_a_device_called_an_image_is_rejected(tmp_path: Path) -> None:
    try:
        os.mknod(tmp_path / "device.png", 0o20600, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("this machine lets nobody make a device")
    rejected = hash_tiles(list_tiles([tmp_path]), lambda done: None).rejected
    assert len(rejected) == 1
    assert rejected[0].path == "device.png"
    assert rejected[0].reason.startswith("cannot be read (")


def test_a_file_without_permission_is_rejected(
    open_folder: Path, drop_root: Callable[[], None]
) -> None:
    write_tiles(open_folder, ["a.png", "closed.png"])
    (open_folder / "closed.png").chmod(0)
    drop_root()
    hashed = hash_tiles(list_tiles([open_folder]), lambda done: None)
    assert hashed.table["path"].to_pylist() == ["a.png"]
    assert hashed.rejected == [
        Rejection(path="closed.png", reason="cannot be read (Permission denied)")
    ]


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
    table = hash_tiles(tiles, lambda done: None).table
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert table["sha256"].to_pylist() == [hashlib.sha256(bytes(size)).hexdigest()] * 16
    # Eight threads with a buffer of 256 KB each; one file alone would be 8 MB.
    assert peak < size / 2


def test_progress_is_reported_in_steps_and_at_the_end(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(2500)]
    tiles = TileList(root=tmp_path, table=pa.table({"image_id": names, "path": names}))
    done: list[int] = []
    rejected = hash_tiles(tiles, done.append).rejected
    assert done == [1024, 2048, 2500]
    assert [entry.path for entry in rejected] == names


NO_DIGEST = "f" * 64


def as_if_hashed(tiles: TileList) -> pa.Table:
    """States of tiles as they are, with a digest that tells whether it is believed."""
    states = hash_tiles(tiles, lambda done: None, settled_ns=UNCHANGED_NS).states
    return states.set_column(5, "sha256", pa.array([NO_DIGEST] * len(states)))


def digests(tiles: TileList, known: pa.Table | None) -> dict[str, str]:
    table = hash_tiles(tiles, lambda done: None, known).table
    return dict(zip(table["path"].to_pylist(), table["sha256"].to_pylist(), strict=True))


def test_files_as_they_were_are_not_read_again(tmp_path: Path) -> None:
    names = [f"{number:04d}.png" for number in range(2500)]
    write_tiles(tmp_path, names)
    known = as_if_hashed(list_tiles([tmp_path]))
    assert known.schema == STATES
    assert known["path"].to_pylist() == names
    write_tiles(tmp_path, ["0000b.png", "2600.png"])
    tiles = list_tiles([tmp_path])
    found = digests(tiles, known.take(pa.array(range(len(known) - 1, 0, -1))))  # all but the first
    new = ["0000.png", "0000b.png", "2600.png"]
    assert found == dict.fromkeys(names, NO_DIGEST) | {
        name: hash_file(tmp_path / name) for name in new
    }
    assert list(found) == sorted([*names, *new[1:]])
    assert digests(tiles, None)["1000.png"] == hash_file(tmp_path / "1000.png")


def _rewrite(path: Path) -> None:
    path.write_bytes(path.read_bytes()[::-1])


def _replace(path: Path) -> None:
    other = path.with_suffix(".new")
    other.write_bytes(path.read_bytes()[::-1])
    other.replace(path)


@pytest.mark.parametrize("change", [_rewrite, _replace, Path.touch])
def test_changed_file_is_read_despite_equal_size_and_time(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    write_tiles(tmp_path, ["a.png", "b.png", "c.png"])
    tiles = list_tiles([tmp_path])
    known, before = as_if_hashed(tiles), (tmp_path / "b.png").stat()
    # Two states of a file may have one time if nothing comes between them.
    while (tmp_path / "b.png").stat().st_ctime_ns == before.st_ctime_ns:
        change(tmp_path / "b.png")
        os.utime(tmp_path / "b.png", ns=(before.st_atime_ns, before.st_mtime_ns))
    after = (tmp_path / "b.png").stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    real = hash_file(tmp_path / "b.png")
    assert digests(tiles, known) == {"a.png": NO_DIGEST, "b.png": real, "c.png": NO_DIGEST}


def test_recently_changed_file_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiles(tmp_path, ["a.png", "b.png"])
    tiles, now = list_tiles([tmp_path]), (tmp_path / "b.png").stat().st_ctime_ns
    for later, paths in ((0, []), (3_900_000_000, []), (4_100_000_000, ["a.png", "b.png"])):
        monkeypatch.setattr("time.time_ns", lambda later=later: now + later)
        assert hash_tiles(tiles, lambda done: None).states["path"].to_pylist() == paths
    # A time that lies ahead says nothing.
    os.utime(tmp_path / "b.png", ns=(0, now + 10**12))
    assert hash_tiles(tiles, lambda done: None).states["path"].to_pylist() == ["a.png"]


@pytest.mark.parametrize("modified", [-11_644_473_600 * 10**9, 2**63])
def test_a_time_that_no_table_holds_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, modified: int
) -> None:
    write_tiles(tmp_path, ["a.png"])
    monkeypatch.setattr(files, "read_marks", lambda status: (status.st_size, modified, 0, 1))
    hashed = hash_tiles(list_tiles([tmp_path]), lambda done: None, settled_ns=UNCHANGED_NS)
    assert hashed.table["sha256"].to_pylist() == [hash_file(tmp_path / "a.png")]
    assert len(hashed.states) == 0


@pytest.mark.parametrize("mark", ["bytes", "modified", "changed", "inode"])
def test_every_mark_of_a_file_counts(tmp_path: Path, mark: str) -> None:
    write_tiles(tmp_path, ["a.png", "b.png"])
    tiles = list_tiles([tmp_path])
    known = as_if_hashed(tiles)
    column = known.schema.get_field_index(mark)
    other = pa.array([known[mark][0].as_py(), known[mark][1].as_py() + 1], STATES.field(mark).type)
    found = digests(tiles, known.set_column(column, mark, other))
    assert found == {"a.png": NO_DIGEST, "b.png": hash_file(tmp_path / "b.png")}


def test_vanished_file_is_rejected_despite_the_cache(tmp_path: Path) -> None:
    write_tiles(tmp_path, ["a.png", "b.png"])
    tiles = list_tiles([tmp_path])
    known = as_if_hashed(tiles)
    (tmp_path / "b.png").unlink()
    hashed = hash_tiles(tiles, lambda done: None, known, settled_ns=UNCHANGED_NS)
    assert hashed.table["sha256"].to_pylist() == [NO_DIGEST]
    assert hashed.rejected == [
        Rejection(path="b.png", reason="cannot be read (No such file or directory)")
    ]
    assert hashed.states["path"].to_pylist() == ["a.png"]
