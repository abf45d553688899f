"""Promise 14: files are never changed in place; replacing and cleaning up spares open readers."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from histo_index.indexer.format.manifest import read_manifest
from histo_index.indexer.reader import OpenIndex
from histo_index.indexer.writing.commit import reindex
from tests.indexer.fakes import (
    FakeEncoder,
    expected_rows,
    indexed_rows,
    numbered,
    run_build,
    write_tiles,
)
from tests.promises.child import ROOT
from tests.promises.conftest import Tell, Tries
from tests.promises.tracing import trace

_REBUILD = """
import sys
from pathlib import Path
from histo_index.indexer.writing.commit import reindex
from tests.indexer.fakes import FakeEncoder, run_build, write_tiles
folder, rounds = Path(sys.argv[1]), int(sys.argv[2])
encoder = FakeEncoder(folder=folder / "fake-encoder")
for number in range(rounds):
    for tile in sorted((folder / "tiles").iterdir())[number % 2 :: 2]:
        tile.write_text(f"{number} of {tile.name}")
    run_build(folder / "tiles.hx", encoder, folder / "tiles")
    reindex(folder / "tiles.hx")
"""
_CHANGES = ("write", "writev", "pwrite64", "sendfile", "ftruncate", "truncate")
_OPENS = ("open", "openat", "openat2", "creat")


@pytest.fixture
def index(tiles: Path, tmp_path: Path, encoder: FakeEncoder) -> Path:
    run_build(tmp_path / "tiles.hx", encoder, tiles)
    return tmp_path / "tiles.hx"


def test_200_queries_while_all_files_are_replaced_and_removed(
    index: Path, tmp_path: Path, tries: Tries, tell: Tell
) -> None:
    rounds = tries(10, 200)
    old = expected_rows(tmp_path / "tiles", numbered(20))
    before = [OpenIndex(index) for _ in range(2)]
    names = {record.path for record in before[0].manifest.records()}
    command = [sys.executable, "-c", _REBUILD, str(tmp_path), str(rounds)]
    queries = 0
    with subprocess.Popen(command, cwd=ROOT) as writer:
        while writer.poll() is None or queries < 200:
            vectors = before[0].vectors(np.arange(20)).astype(np.float32)
            found = before[0].structure.search(vectors, 1)[:, 0]
            assert found.tolist() == list(range(20))
            assert indexed_rows(before[0]) == old
            queries += 1
    assert writer.returncode == 0
    assert read_manifest(index).generation == 1 + 2 * rounds
    # Every file that it answers from is gone; one that was not looked at yet answers, too.
    gone = {name for name in names if not (index / name).exists()}
    assert gone == {name for name in names if not name.startswith("encoder/")}
    assert indexed_rows(before[1]) == old
    assert before[1].structure.search(vectors, 1)[:, 0].tolist() == list(range(20))
    assert before[1].find_names(pa.array(["t0000.png"])).tolist() == [0]
    tell(f"{queries} queries during {2 * rounds} commits", "0 other answers")


def test_a_reader_keeps_its_state_when_tiles_change_and_go(
    index: Path, tiles: Path, encoder: FakeEncoder
) -> None:
    before = OpenIndex(index)
    old = expected_rows(tiles, numbered(20))
    write_tiles(tiles, numbered(20)[::2], content="another {}")
    run_build(index, encoder, tiles)
    (tiles / "t0000.png").unlink()
    run_build(index, encoder, tiles)
    reindex(index)
    assert read_manifest(index).generation == 4
    assert not (index / "search" / "000001").exists()
    assert before.manifest.generation == 1
    assert indexed_rows(before) == old
    assert OpenIndex(index).find_names(pa.array(["t0000.png"])).tolist() == [-1]


@pytest.mark.skipif(sys.platform != "linux", reason="traces system calls of Linux")
def test_no_file_with_a_final_name_is_opened_for_writing_or_cut(
    index: Path, tmp_path: Path, tell: Tell
) -> None:
    command = [sys.executable, "-c", _REBUILD, str(tmp_path), "2"]
    done, calls = trace(command, tmp_path / "trace", *_CHANGES, *_OPENS)
    assert (done.returncode, done.stderr) == (0, "")
    inside = [call for call in calls if call.paths[0].startswith(f"{index}/")]
    changed = set()
    for call in inside:
        # The flags come after the path; creat has none and always writes.
        flags = call.arguments[{"open": 1, "openat": 2}.get(call.name, 0)]
        is_opened = call.name in _OPENS and not flags & (os.O_WRONLY | os.O_RDWR)
        if not is_opened and not Path(call.paths[0]).name.startswith(".tmp-"):
            changed.add(call.paths[0])
    # The lock holds nothing of the index.
    assert changed == {str(index / "lock")}
    assert len(inside) > 100
    tell(f"{len(inside)} opens and writes of 4 commits", "0 on files with a final name")
