"""Promise 3: bytes are on disk before their name is. Read from the system calls of real builds."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.indexer.fakes import write_tiles
from tests.promises.conftest import Tell
from tests.promises.tracing import Call, trace

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="traces system calls of Linux")

_BUILD = """
import sys
from pathlib import Path
from histo_index.indexer.writing.commit import reindex
from tests.indexer.fakes import FakeEncoder, run_build
tiles, output = map(Path, sys.argv[1:3])
if sys.argv[3] == "reindex":
    reindex(output)
else:
    run_build(output, FakeEncoder(folder=tiles.parent / "fake-encoder"), tiles)
"""
_WRITES = ("write", "writev", "pwrite64", "sendfile", "ftruncate")
_NAMES = ("link", "linkat", "rename", "renameat", "renameat2")
_FOLDERS = ("mkdir", "mkdirat")
_REMOVALS = ("unlink", "unlinkat", "rmdir")
_FLUSHES = ("fsync", "fdatasync")


def steps_of(folder: Path, output: Path, kind: str) -> list[Call]:
    """Trace a build and give its calls on the index, in order, those that failed left out."""
    done, calls = trace(
        [sys.executable, "-W", "error", "-c", _BUILD, folder / "tiles", output, kind],
        folder / "trace",
        *(*_WRITES, *_NAMES, *_FOLDERS, *_REMOVALS, *_FLUSHES),
    )
    assert (done.returncode, done.stderr) == (0, "")
    return [c for c in calls if c.result >= 0 and c.paths[-1].startswith(str(folder))]


def flushes(steps: list[Call], path: str) -> list[int]:
    return [n for n, call in enumerate(steps) if call.name in _FLUSHES and call.paths == [path]]


def require_order(steps: list[Call], output: Path) -> list[str]:
    """Check the order of one commit; gives the names published in it, in order."""
    named = [number for number, call in enumerate(steps) if call.name in _NAMES]
    commit = named[-1]
    assert steps[commit].paths[1] == str(output / "manifest.json")
    for number in named:
        source, target = steps[number].paths
        writes = [n for n, c in enumerate(steps) if c.name in _WRITES and c.paths[0] == source]
        assert writes, f"{target} has no bytes"
        is_flushed = any(writes[-1] < n < number for n in flushes(steps, source))
        assert is_flushed, f"{target} is named before its bytes are on disk"
        end = commit if number < commit else len(steps)
        folder = os.path.dirname(target)
        is_kept = any(number < n < end for n in flushes(steps, folder))
        assert is_kept, f"the name of {target} is not on disk before the manifest is"
    for number, call in enumerate(steps):
        path = call.paths[-1]
        if call.name in _FOLDERS:
            above = flushes(steps, os.path.dirname(path))
            assert any(number < n < commit for n in above), f"the folder {path} is not on disk"
        if call.name in _REMOVALS and "/.tmp-" not in path:
            assert any(commit < n < number for n in flushes(steps, str(output))), (
                f"{path} is removed before the manifest is on disk"
            )
    return [steps[number].paths[1] for number in named]


@pytest.fixture
def traced(tmp_path: Path) -> Any:
    write_tiles(tmp_path / "tiles", [f"t{number}.png" for number in range(20)])
    (tmp_path / "fake-encoder").mkdir()
    output = tmp_path / "new" / "tiles.hx"
    return lambda kind: steps_of(tmp_path, output, kind), output


def test_files_are_flushed_then_named_then_folders_flushed_then_the_manifest(
    traced: Any, tmp_path: Path, tell: Tell
) -> None:
    run, output = traced
    first = run("build")
    names = [os.path.relpath(name, output) for name in require_order(first, output)]
    # Written before the plan; no manifest names it.
    names.remove("hashed.parquet")
    assert names[:3] == ["encoder/config.json", "encoder/model.safetensors", "plan.parquet"]
    shards, receipts = names[3:9:2], names[4:9:2]
    assert all(name.startswith("embeddings/part-") for name in shards)
    assert receipts == [name.replace(".parquet", ".json") for name in shards]
    assert sorted(names[9:11]) == ["search/000001/rows.arrow", "search/000001/vectors.npy"]
    assert names[11:] == [
        "search/000001/blocks.npy",
        "rejected-000001.parquet",
        "manifest.json",
    ]
    write_tiles(tmp_path / "tiles", ["z.png"])
    again = run("build")
    require_order(again, output)
    assert any(call.name in _REMOVALS and "000001" in call.paths[-1] for call in again)
    rest = run("reindex")
    require_order(rest, output)
    calls = len(first) + len(again) + len(rest)
    tell(f"a first build, a rebuild, a reindex: {calls} system calls", "every name after its bytes")
