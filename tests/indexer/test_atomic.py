"""Files appear whole or not at all, and their bytes are on disk before their names are."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from histo_index.indexer.atomic import (
    make_folder,
    publish_bytes,
    publishing,
    remove_leftovers,
)
from histo_index.indexer.commit import reindex
from tests.indexer.fakes import FakeEncoder, files_of, run_build, write_tiles

Step = tuple[str, Path, Path]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[Step]:
    """Record flushes, new names and removals in the order they happen."""
    recorded: list[Step] = []
    fsync, link, replace, mkdir, unlink = os.fsync, os.link, os.replace, os.mkdir, os.unlink

    def record_fsync(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        recorded.append(("flush", path, path))
        fsync(descriptor)

    def record_link(source: Any, target: Any, **options: Any) -> None:
        recorded.append(("name", Path(source), Path(target)))
        link(source, target, **options)

    def record_replace(source: Any, target: Any, **options: Any) -> None:
        recorded.append(("name", Path(source), Path(target)))
        replace(source, target, **options)

    def record_mkdir(path: Any, *rest: Any, **options: Any) -> None:
        recorded.append(("folder", Path(path), Path(path)))
        mkdir(path, *rest, **options)

    def record_unlink(path: Any, **options: Any) -> None:
        recorded.append(("remove", Path(path), Path(path)))
        unlink(path, **options)

    for name, function in (
        ("fsync", record_fsync),
        ("link", record_link),
        ("replace", record_replace),
        ("mkdir", record_mkdir),
        ("unlink", record_unlink),
    ):
        monkeypatch.setattr(os, name, function)
    return recorded


def require_order(steps: list[Step], index: Path) -> list[Path]:
    """Check the order of one commit; gives the names published in it, in order."""
    manifest = index / "manifest.json"
    named = [number for number, step in enumerate(steps) if step[0] == "name"]
    (commit,) = (number for number in named if steps[number][2] == manifest)
    assert commit == named[-1], "a file is published after the manifest"
    for number in named:
        source, target = steps[number][1:]
        flushed = [s for s in steps[:number] if s == ("flush", source, source)]
        assert len(flushed) == 1, f"{target} is named before its bytes are on disk"
        end = commit if number < commit else len(steps)
        folder = ("flush", target.parent, target.parent)
        assert folder in steps[number + 1 : end], f"the name of {target} is not flushed"
    for number, (what, path, _) in enumerate(steps):
        if what == "folder":
            assert ("flush", path.parent, path.parent) in steps[number + 1 : commit]
        is_temporary = path.name.startswith(".tmp-")
        if what == "remove" and not is_temporary:
            assert number > commit, f"{path} is removed before the manifest is replaced"
            assert ("flush", index, index) in steps[commit + 1 : number]
    return [steps[number][2] for number in named]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="reads names of descriptors")
def test_a_build_flushes_files_then_names_them_then_flushes_folders_then_the_manifest(
    tiles: Path, tmp_path: Path, encoder: FakeEncoder, steps: list[Step]
) -> None:
    output = tmp_path / "new" / "tiles.hx"
    run_build(output, encoder, tiles)
    named = require_order(steps, output)
    names = [path.relative_to(output).as_posix() for path in named]
    assert names[:3] == ["encoder/config.json", "encoder/model.safetensors", "plan.parquet"]
    shards, receipts = names[3:9:2], names[4:9:2]
    assert all(name.startswith("embeddings/part-") for name in shards)
    assert receipts == [name.replace(".parquet", ".json") for name in shards]
    assert sorted(names[9:11]) == ["search/000001/rows.arrow", "search/000001/vectors.npy"]
    assert names[11:] == [
        "search/000001/blocks.npy",
        "search/000001/flat.faiss",
        "rejected-000001.parquet",
        "manifest.json",
    ]
    write_tiles(tiles, ["z.png"])
    steps.clear()
    run_build(output, encoder, tiles)
    require_order(steps, output)
    assert any(step[0] == "remove" and "000001" in str(step[1]) for step in steps)
    steps.clear()
    reindex(output)
    require_order(steps, output)


def test_a_file_is_published_with_the_bytes_written(tmp_path: Path) -> None:
    publish_bytes(tmp_path / "a" / "b" / "file", b"data")
    assert files_of(tmp_path) == {"a/b/file": b"data"}
    publish_bytes(tmp_path / "a" / "b" / "file", b"newer")
    assert files_of(tmp_path) == {"a/b/file": b"newer"}


def test_first_wins_keeps_what_is_there(tmp_path: Path) -> None:
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
    keep = ["a", "sub/tmp", "sub/x.tmp-1"]
    write_tiles(tmp_path, [*keep, ".tmp-0a-manifest.json", "sub/deep/.tmp-0b-x"])
    remove_leftovers(tmp_path)
    assert sorted(files_of(tmp_path)) == sorted(keep)


def test_a_folder_is_made_with_those_above_it(tmp_path: Path) -> None:
    for _ in range(2):
        make_folder(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        make_folder(tmp_path / "file" / "below")
