"""Promise 6: a full disk is a clear error, nothing half is visible, and it goes on with space."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.indexer.fakes import expected_rows, leftovers, numbered, require_sound, write_tiles
from tests.promises.child import ROOT, ChildBuilds
from tests.promises.conftest import Tell, Tries
from tests.promises.filling import KINDS, WAYS, Attempt

# Whoever may not mount gets a namespace of their own in which they may.
_UNSHARE = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]
# Bytes that a file may have, around the sizes of all files of the index below.
_LIMITS = (0, 100, 600, 1100, 1600, 2000, 2300, 2600, 3000, 4000, 5500, 9000)


def may_mount() -> bool:
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return False
    script = "mount -t tmpfs none /tmp"
    return subprocess.run([*_UNSHARE, "sh", "-c", script], check=False).returncode == 0


@pytest.fixture(scope="module")
def swept(
    tmp_path_factory: pytest.TempPathFactory, tries: Tries
) -> dict[tuple[str, str], list[Attempt]]:
    """Attempts at every size, by what the disk runs out of and the kind of build."""
    if not may_mount():
        pytest.skip("no right to mount a small disk here; the limit on file sizes stands in")
    folder = tmp_path_factory.mktemp("small")
    program = [sys.executable, "-W", "error", "-m", "tests.promises.filling", str(folder)]
    done = subprocess.run(
        [*_UNSHARE, *program, str(tries(12, 200)), str(tries(3, 1))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[tuple[str, str], list[Attempt]] = {}
    for what, kind, attempt in map(json.loads, done.stdout.splitlines()):
        found.setdefault((what, kind), []).append(Attempt(**attempt))
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", WAYS)
def test_at_every_size_of_a_small_disk(
    swept: dict[tuple[str, str], list[Attempt]], what: str, kind: str, tries: Tries, tell: Tell
) -> None:
    """At every third size with each push."""
    attempts = swept[what, kind]
    states = {attempt.state for attempt in attempts[:-1]}
    tell(f"build {kind}, {what} free: 1 to {attempts[-1].room}", f"states after failing: {states}")
    # The manifest of the first state has been replaced when only the clearing up is left.
    assert states <= {{"first": "none", "again": "old"}[kind], "new"}
    assert attempts[-1].state == "new"
    assert len(attempts) > tries(3, 10)
    for attempt in attempts[:-1]:
        assert ".tmp-" not in str(attempt.error)
        assert attempt.error is not None
        assert re.fullmatch(
            r"OSError: \[Errno 28\] No space left on device: '\S+/tiles\.hx\S*'",
            attempt.error,
        ), attempt
    assert {(a.temporaries, a.repeated, a.problem) for a in attempts} == {(0, 0, "")}


@pytest.mark.parametrize("is_rebuild", [False, True], ids=["first build", "rebuild"])
def test_a_file_that_cannot_be_written_whole_is_never_seen(
    tmp_path: Path, children: ChildBuilds, is_rebuild: bool, tries: Tries
) -> None:
    tiles = write_tiles(tmp_path / "tiles", numbered(20))
    start, output = tmp_path / "start.hx", tmp_path / "tiles.hx"
    old = None
    if is_rebuild:
        assert children.run(tiles, start)["status"] == 0
        old = expected_rows(tiles, numbered(20))
        write_tiles(tiles, numbered(20, start=20))
    new = expected_rows(tiles, [path.name for path in sorted(tiles.iterdir())])
    failed, limits = 0, _LIMITS[1 :: tries(2, 1)]
    for limit in limits:
        shutil.rmtree(output, ignore_errors=True)
        if is_rebuild:
            shutil.copytree(start, output)
        answer = children.run(tiles, output, largest_file=limit)
        failed += answer["status"]
        if answer["status"]:
            assert answer["error"].startswith("OSError: [Errno 27] File too large: '")
            if old is None:
                assert not (output / "manifest.json").exists()
            else:
                require_sound(output, old)
            assert not list(output.rglob(".tmp-*"))
            # With room again it goes on.
            assert children.run(tiles, output)["status"] == 0
        require_sound(output, new)
        assert leftovers(output) == []
    assert 0 < failed < len(limits)
