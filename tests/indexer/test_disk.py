"""A disk that is full or closed: a clear error, nothing half visible, and on from there later."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from histo_index.indexer.commit import reindex
from tests.indexer.child import ChildBuilds
from tests.indexer.fakes import (
    FakeEncoder,
    expected_rows,
    files_of,
    leftovers,
    numbered,
    require_sound,
    run_build,
    write_tiles,
)

# Bytes that a file may have, around the sizes of all files of the index below.
LIMITS = (0, 100, 600, 1100, 1600, 2000, 2300, 2600, 3000, 4000, 5500, 9000)


@pytest.mark.parametrize("is_rebuild", [False, True], ids=["first build", "rebuild"])
def test_a_file_that_cannot_be_written_whole_is_never_seen(
    tmp_path: Path, children: ChildBuilds, is_rebuild: bool
) -> None:
    tiles = write_tiles(tmp_path / "tiles", numbered(20))
    start, output = tmp_path / "start.hx", tmp_path / "tiles.hx"
    old = None
    if is_rebuild:
        assert children.run(tiles, start)["status"] == 0
        old = expected_rows(tiles, numbered(20))
        write_tiles(tiles, numbered(20, start=20))
    new = expected_rows(tiles, [path.name for path in sorted(tiles.iterdir())])
    failed = 0
    for limit in LIMITS:
        shutil.rmtree(output, ignore_errors=True)
        if is_rebuild:
            shutil.copytree(start, output)
        answer = children.run(tiles, output, largest_file=limit)
        failed += answer["status"]
        if answer["status"]:
            assert answer["error"].startswith("OSError: [Errno 27] File too large")
            if old is None:
                assert not (output / "manifest.json").exists()
            else:
                require_sound(output, old)
            assert not list(output.rglob(".tmp-*"))
            # With room again it goes on.
            assert children.run(tiles, output)["status"] == 0
        require_sound(output, new)
        assert leftovers(output) == []
    assert 0 < failed < len(LIMITS)


def test_a_folder_that_cannot_be_written_is_an_error_and_can_still_be_read(
    open_folder: Path, drop_root: Callable[[], None], tmp_path: Path
) -> None:
    encoder = FakeEncoder(folder=open_folder / "fake-encoder")
    tiles = write_tiles(open_folder / "tiles", numbered(20))
    output = open_folder / "tiles.hx"
    run_build(output, encoder, tiles)
    before = files_of(output)
    for path in (output, *(path for path in output.rglob("*") if path.is_dir())):
        path.chmod(0o555)
    (output / "lock").chmod(0o444)
    drop_root()
    for write in (lambda: run_build(output, encoder, tiles), lambda: reindex(output)):
        with pytest.raises(PermissionError, match="lock"):
            write()
    with pytest.raises(PermissionError, match=r"new\.hx"):
        run_build(open_folder / "tiles" / "new.hx", encoder, tiles)
    require_sound(output, expected_rows(tiles, numbered(20)))
    assert files_of(output) == before


def test_a_part_of_an_index_that_cannot_be_written_leaves_the_old_state(
    open_folder: Path, drop_root: Callable[[], None]
) -> None:
    encoder = FakeEncoder(folder=open_folder / "fake-encoder")
    tiles = write_tiles(open_folder / "tiles", numbered(20))
    output = open_folder / "tiles.hx"
    run_build(output, encoder, tiles)
    old = expected_rows(tiles, numbered(20))
    write_tiles(tiles, ["z.png"])
    for path in (output, output / "lock", output / "search"):
        path.chmod(0o777)
    (output / "embeddings").chmod(0o555)
    drop_root()
    with pytest.raises(PermissionError, match="embeddings"):
        run_build(output, encoder, tiles)
    require_sound(output, old)
