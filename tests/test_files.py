"""Files appear whole or not at all; `tests/promises` traces the order of flushes and names."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from histo_index.files import (
    make_folder,
    publish_bytes,
    publishing,
    remove_leftovers,
)
from tests.indexer.fakes import files_of, write_tiles


def test_a_file_is_published_with_the_bytes_written(tmp_path: Path) -> None:
    publish_bytes(tmp_path / "a" / "b" / "file", b"data")
    assert files_of(tmp_path) == {"a/b/file": b"data"}
    publish_bytes(tmp_path / "a" / "b" / "file", b"newer")
    assert files_of(tmp_path) == {"a/b/file": b"newer"}


def test_bytes_are_on_disk_before_their_name_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    trace: list[str] = []
    flush, rename = os.fsync, os.replace

    def traced_flush(descriptor: int) -> None:
        what = "folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file"
        trace.append(f"flush {what}")
        flush(descriptor)

    def traced_rename(source: Path, target: Path) -> None:
        trace.append("rename")
        assert source.read_bytes() == b"new"
        rename(source, target)

    monkeypatch.setattr(os, "fsync", traced_flush)
    monkeypatch.setattr(os, "replace", traced_rename)
    publish_bytes(path, b"new")
    assert trace == ["flush file", "rename", "flush folder"]


def test_first_writer_wins(tmp_path: Path) -> None:
    for data in (b"first", b"second"):
        publish_bytes(tmp_path / "file", data, first_wins=True)
    assert files_of(tmp_path) == {"file": b"first"}


@pytest.mark.parametrize("is_there", [False, True])
def test_first_wins_without_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    def refuse(source: Any, target: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    if is_there:
        (tmp_path / "file").write_bytes(b"first")
    publish_bytes(tmp_path / "file", b"second", first_wins=True)
    assert files_of(tmp_path) == {"file": b"first" if is_there else b"second"}


@pytest.mark.parametrize("first_wins", [False, True])
@pytest.mark.parametrize("fault", ["body", "fsync", "publish"])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, first_wins: bool
) -> None:
    final = tmp_path / "file"
    if not first_wins:
        final.write_bytes(b"old")
    before = files_of(tmp_path)

    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if fault == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    if fault == "publish":
        monkeypatch.setattr(os, "link", full)
        monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left on device"):  # noqa: PT012, SIM117
        with publishing(final, first_wins=first_wins) as temporary:
            temporary.write_bytes(b"new")
            if fault == "body":
                full()
    assert files_of(tmp_path) == before


def test_a_link_that_fails_for_want_of_space_is_no_silent_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Any, target: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    publish_bytes(tmp_path / "file", b"data", first_wins=True)
    assert files_of(tmp_path) == {"file": b"data"}


def test_leftovers_of_killed_writers_are_removed_and_nothing_else(tmp_path: Path) -> None:
    keep = ["a", "sub/tmp", "sub/x.tmp-1", ".new-0a-map.parquet"]
    write_tiles(tmp_path, [*keep, ".tmp-0a-manifest.json", "sub/deep/.tmp-0b-x", ".new-0b-map"])
    os.utime(tmp_path / ".new-0b-map", (0, 0))
    remove_leftovers(tmp_path)
    assert sorted(files_of(tmp_path)) == sorted(keep)


def test_a_folder_is_made_with_those_above_it(tmp_path: Path) -> None:
    for _ in range(2):
        make_folder(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        make_folder(tmp_path / "file" / "below")
