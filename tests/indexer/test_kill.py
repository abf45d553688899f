"""A build may be killed at any moment: what opens is a committed state, and no work is lost.

Needs a POSIX system: the builds run in forked processes that get a SIGKILL.
"""

import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from histo_index.errors import IndexFormatError
from histo_index.indexer.commit import finished_shards
from histo_index.indexer.opened import OpenIndex
from tests.indexer.child import KILLED, ChildBuilds
from tests.indexer.fakes import (
    expected_rows,
    indexed_rows,
    leftovers,
    numbered,
    require_sound,
    write_tiles,
)

Rows = Mapping[str, tuple[Any, ...]]
_FINGERPRINT = "f" * 32


def require_one_of(output: Path, old: Rows | None, new: Rows) -> bool:
    """Check that what opens is the old state or the new one; tells whether it is the new one."""
    if not (output / "manifest.json").exists():
        with pytest.raises(IndexFormatError, match=r"holds no finished index|no such index"):
            OpenIndex(output)
        assert old is None
        return False
    is_new = indexed_rows(OpenIndex(output)) == new
    assert is_new or old is not None
    require_sound(output, new if is_new else old or {})
    return is_new


def finished_contents(output: Path) -> set[str]:
    """Name the contents that shards with a receipt hold, without changing the index."""
    copy = output.with_name("copy.hx")
    shutil.copytree(output, copy)
    found = finished_shards(copy, _FINGERPRINT)
    shutil.rmtree(copy)
    return {digest for shard in found for digest in shard.rows["sha256"].to_pylist()}


def contents(log: Path) -> list[str]:
    return log.read_text().split() if log.exists() else []


def change(tiles: Path) -> None:
    """Add, remove and change tiles so that shards are kept, copied from, merged and written."""
    write_tiles(tiles, numbered(4, start=30))
    (tiles / "t0002.png").unlink()
    (tiles / "t0009.png").write_text("another picture")
    (tiles / "t0014.png").rename(tiles / "a.png")


def names_in(tiles: Path) -> list[str]:
    return sorted(path.name for path in tiles.iterdir())


@pytest.mark.parametrize("is_rebuild", [False, True], ids=["first build", "rebuild"])
def test_killed_before_every_step_on_the_file_system_in_turn(
    tmp_path: Path, children: ChildBuilds, is_rebuild: bool
) -> None:
    tiles = write_tiles(tmp_path / "tiles", numbered(15))
    start = tmp_path / "start.hx"
    old = None
    if is_rebuild:
        assert children.run(tiles, start)["status"] == 0
        old = expected_rows(tiles, numbered(15))
        change(tiles)
    new = expected_rows(tiles, names_in(tiles))
    log, output = tmp_path / "log", tmp_path / "tiles.hx"
    states: list[bool] = []
    answer = {"status": KILLED}
    while answer["status"] == KILLED:
        shutil.rmtree(output, ignore_errors=True)
        if is_rebuild:
            shutil.copytree(start, output)
        answer = children.run(tiles, output, die_at=len(states) + 1)
        is_new = require_one_of(output, old, new)
        states.append(is_new)
        if len(states) % 6 == 0 and output.exists():
            # Go on from there: what has a receipt is not encoded again.
            done = finished_contents(output)
            log.unlink(missing_ok=True)
            finished = children.run(tiles, output, log=log)
            # A build that was killed leaves nothing that looks damaged.
            assert (finished["status"], finished["warnings"]) == (0, [])
            require_sound(output, new)
            assert leftovers(output) == []
            encoded = contents(log)
            assert not set(encoded) & done
            assert set(encoded) | done >= {row[1] for row in new.values()}
            assert len(encoded) == len(set(encoded))
    assert answer == {"status": 0, "error": None, "steps": len(states) - 1, "warnings": []}
    # There is one moment at which the state changes, and it changes once.
    assert states == sorted(states)
    assert 50 < states.index(True) < len(states) - 1


@pytest.mark.parametrize("is_rebuild", [False, True], ids=["first build", "rebuild"])
def test_killed_at_random_moments_fifteen_times(
    tmp_path: Path, children: ChildBuilds, is_rebuild: bool
) -> None:
    moments = random.Random(20260131 + is_rebuild)
    tiles = write_tiles(tmp_path / "tiles", numbered(200))
    output, log = tmp_path / "tiles.hx", tmp_path / "log"
    old: Rows | None = None
    new = expected_rows(tiles, names_in(tiles))
    kills = rounds = 0
    while kills < 15 and rounds < 100:
        rounds += 1
        before = finished_contents(output) if output.exists() else set()
        log.unlink(missing_ok=True)
        # The fake takes a millisecond for a tile, so that most of these fall into a build.
        answer = children.run(
            tiles, output, log=log, delay_s=0.001, kill_after_s=moments.uniform(0.0, 0.4)
        )
        assert answer["status"] in (0, KILLED)
        kills += answer["status"] == KILLED
        assert answer.get("warnings", []) == []
        assert not set(contents(log)) & before, "a finished shard was encoded again"
        is_new = require_one_of(output, old, new)
        assert is_new or answer["status"] == KILLED
        if is_new and is_rebuild:
            old = new
            rewrite(tiles, rounds)
        elif is_new:
            shutil.rmtree(output)
        new = expected_rows(tiles, names_in(tiles))
    assert kills == 15
    require_finish(tmp_path, tiles, output, children)


def rewrite(tiles: Path, number: int) -> None:
    """Change every other tile, add some, remove some."""
    for name in numbered(200)[::2]:
        (tiles / name).write_text(f"picture {number} of {name}")
    write_tiles(tiles, numbered(5, start=200 + 5 * number))
    (tiles / numbered(200)[(2 * number - 1) % 200]).unlink(missing_ok=True)


def require_finish(tmp_path: Path, tiles: Path, output: Path, children: ChildBuilds) -> None:
    """Build undisturbed, and compare with an index that never was disturbed."""
    new = expected_rows(tiles, names_in(tiles))
    before = finished_contents(output) if output.exists() else set()
    log = tmp_path / "last-log"
    assert children.run(tiles, output, log=log)["status"] == 0
    assert not set(contents(log)) & before
    require_sound(output, new)
    assert leftovers(output) == []
    assert children.run(tiles, tmp_path / "whole.hx")["status"] == 0
    assert indexed_rows(OpenIndex(tmp_path / "whole.hx")) == indexed_rows(OpenIndex(output))
