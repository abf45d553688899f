"""Promise 4: a reader never sees a half build and takes no lock."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from histo_index.errors import IndexFormatError
from histo_index.indexer import stored_vectors
from histo_index.indexer.format.manifest import Manifest, read_manifest
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

Rows = Mapping[str, tuple[Any, ...]]


_BUILD_ALL = """
import sys
from pathlib import Path
from tests.indexer.fakes import FakeEncoder, run_build
folder = Path(sys.argv[1])
encoder = FakeEncoder(folder=folder / "fake-encoder")
for number in range(1, int(sys.argv[2]) + 1):
    run_build(folder / "tiles.hx", encoder, folder / "tiles" / str(number), replace=True)
"""
_READ = """
import sys
from pathlib import Path
import numpy as np
import histo_index
index = histo_index.open(Path(sys.argv[1]))
index.pair("t0000.png", "t0001.png"), index.search("t0002.png")
index.opened.vectors(np.arange(len(index)))
"""


def read(output: Path, states: Sequence[Rows]) -> int:
    """Open an index, compare everything with the state it claims to be, and say which."""
    index = OpenIndex(output)
    state = index.manifest.generation - 1
    assert indexed_rows(index) == states[state]
    vectors = index.vectors(np.arange(12)).astype(np.float32)
    assert index.structure.search(vectors, 1)[:, 0].tolist() == list(range(12))
    return state


def test_a_looping_reader_never_fails_and_every_answer_is_of_one_state(
    tmp_path: Path, encoder: FakeEncoder, tries: Tries, tell: Tell
) -> None:
    output, builds, least = tmp_path / "tiles.hx", tries(30, 1_000), 100
    states = []
    for number in range(builds + 1):
        folder = write_tiles(
            tmp_path / "tiles" / str(number), numbered(12), content=f"{number} {{}}"
        )
        states.append(expected_rows(folder, numbered(12)))
    run_build(output, encoder, tmp_path / "tiles" / "0")
    seen: list[int] = []
    # Told once by each build that the tiles are elsewhere now.
    with subprocess.Popen(
        [sys.executable, "-c", _BUILD_ALL, tmp_path, str(builds)],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    ) as writer:
        while writer.poll() is None or len(seen) < least:
            seen.append(read(output, states))
    assert writer.returncode == 0
    seen.append(read(output, states))
    assert seen == sorted(seen)
    assert seen[-1] == builds
    # The reads fell between the commits, not before or after all of them.
    assert len(set(seen)) > 5
    tell(f"{len(seen)} reads during {builds} rebuilds", f"{len(set(seen))} states, 0 mixtures")


def test_a_reader_that_meets_a_commit_between_its_steps_takes_the_newer_state(
    tiles: Path, tmp_path: Path, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "tiles.hx"
    run_build(output, encoder, tiles)
    commits = iter(range(3))

    def read_and_be_overtaken(folder: Path) -> Manifest:
        manifest = read_manifest(folder)
        if next(commits, None) is not None:
            reindex(folder)
        return manifest

    monkeypatch.setattr(stored_vectors, "read_manifest", read_and_be_overtaken)
    index = OpenIndex(output)
    assert index.manifest.generation == 4
    assert indexed_rows(index) == expected_rows(tiles, numbered(20))


def test_reader_overtaken_every_time_reports_it(
    tiles: Path, tmp_path: Path, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "tiles.hx"
    run_build(output, encoder, tiles)

    def read_and_be_overtaken(folder: Path) -> Manifest:
        manifest = read_manifest(folder)
        reindex(folder)
        return manifest

    monkeypatch.setattr(stored_vectors, "read_manifest", read_and_be_overtaken)
    with pytest.raises(IndexFormatError) as caught:
        OpenIndex(output)
    assert str(caught.value) == f"{output} is being rebuilt faster than it can be opened; try again"


@pytest.mark.skipif(sys.platform != "linux", reason="traces system calls of Linux")
def test_a_reader_takes_no_lock_and_writes_nothing(
    tiles: Path, tmp_path: Path, encoder: FakeEncoder, tell: Tell
) -> None:
    output = tmp_path / "tiles.hx"
    run_build(output, encoder, tiles)
    (output / "lock").unlink()
    before = sorted(output.rglob("*"))
    done, calls = trace(
        [sys.executable, "-B", "-c", _READ, output],
        tmp_path / "trace",
        "flock", "fcntl", "openat", "open", "creat", "write", "mkdir", "unlink", "rename",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    inside = [call for call in calls if call.paths[0].startswith(str(output))]
    wanted = {call.name for call in inside}
    assert wanted in ({"openat"}, {"openat", "fcntl"})
    writing, locking = os.O_WRONLY | os.O_RDWR | os.O_CREAT, (5, 6, 7, 36, 37, 38)
    for call in inside:
        if call.name == "fcntl":
            assert call.arguments[1] not in locking
        else:
            assert not call.arguments[2] & writing
    assert sorted(output.rglob("*")) == before
    tell(f"{len(inside)} calls of a reader on the index", "0 locks, 0 opened for writing")
