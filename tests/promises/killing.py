"""Builds that are killed, and what is found after each: the material of promises 1 and 2.

Needs a POSIX system: the builds run in forked processes that get a SIGKILL.
"""

import itertools
import random
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from histo_index.errors import IndexFormatError
from histo_index.indexer.format.manifest import read_manifest
from histo_index.indexer.reader import OpenIndex
from histo_index.indexer.writing.commit import finished_shards
from histo_index.search.calibration.calibration import read_calibration
from tests.indexer.fakes import (
    expected_rows,
    indexed_rows,
    leftovers,
    numbered,
    require_sound,
    write_tiles,
)
from tests.promises.child import KILLED, KILLED_WRITING, ChildBuilds

Rows = Mapping[str, tuple[Any, ...]]
_FINGERPRINT = "f" * 32
# Going on after every third kill: the others differ by few calls.
_EACH = 3


@dataclass(frozen=True, kw_only=True)
class Resumed:
    """What a build did that went on after another was killed.

    Attributes:
        repeated: contents encoded although a finished shard held them, or twice.
        lost: contents that a finished shard held, and that are gone.
        problem: what else was wrong; empty if nothing.
    """

    repeated: int
    lost: int
    problem: str


@dataclass(frozen=True, kw_only=True)
class Aftermath:
    """What was found after a build that was killed or came through.

    Attributes:
        status: KILLED or 0.
        state: `none`, `old`, `new`, or what is wrong.
        resumed: what the next build did, where one was run from there.
    """

    status: int
    state: str
    resumed: Resumed | None = None


@dataclass(frozen=True, kw_only=True)
class Changed:
    """What was found after a change of an index was killed, or came through.

    Attributes:
        status: KILLED or 0.
        state: `old`, `new`, or what is wrong.
        healed: what is wrong after the next run of the same command; empty if nothing.
    """

    status: int
    state: str
    healed: str


@dataclass(kw_only=True)
class Killings:
    """What was found, and in the order of the kills."""

    at_every_step: dict[str, list[Aftermath]] = field(default_factory=dict)
    while_writing: dict[str, list[Aftermath]] = field(default_factory=dict)
    at_random: dict[str, list[Aftermath]] = field(default_factory=dict)

    def resumed(self) -> list[Resumed]:
        kinds = (self.at_every_step, self.while_writing, self.at_random)
        found = [entry for kind in kinds for run in kind.values() for entry in run]
        return [entry.resumed for entry in found if entry.resumed]


def kill_at_every_step(
    folder: Path,
    children: ChildBuilds,
    *,
    is_rebuild: bool,
    every: int = 1,
    bytes_per_step: int = 0,
) -> Iterator[Aftermath]:
    """Kill a build before its first write to the file system, a later one, until it gets through.

    Args:
        folder: an empty one.
        children: where the builds run.
        is_rebuild: begin with an index each time.
        every: writes from one kill to the next.
        bytes_per_step: kill it in the middle of writing instead, where a file grows beyond that
            many bytes for each kill before.
    """
    tiles = write_tiles(folder / "tiles", numbered(15))
    start, output = folder / "start.hx", folder / "tiles.hx"
    old = None
    if is_rebuild:
        assert children.run(tiles, start)["status"] == 0
        old = expected_rows(tiles, numbered(15))
        _change(tiles)
    new = expected_rows(tiles, names_in(tiles))
    for kill in itertools.count(1):
        shutil.rmtree(output, ignore_errors=True)
        if is_rebuild:
            shutil.copytree(start, output)
        grown: dict[str, Any] = {"largest_file": bytes_per_step * kill, "is_deadly": True}
        how = grown if bytes_per_step else {"die_at": 1 + every * (kill - 1)}
        status = children.run(tiles, output, **how)["status"]
        state = state_of(output, old, new)
        is_resumed = kill % _EACH == 0 and output.exists()
        resumed = resume(children, tiles, output, new) if is_resumed else None
        yield Aftermath(status=status, state=state, resumed=resumed)
        if status not in (KILLED, KILLED_WRITING):
            return


def kill_at_random(
    folder: Path, children: ChildBuilds, *, kills: int, is_rebuild: bool
) -> Iterator[Aftermath]:
    """Kill builds that go on from each other, after times of chance, and finish undisturbed."""
    moments = random.Random(20260131 + is_rebuild)
    tiles = write_tiles(folder / "tiles", numbered(200))
    output = folder / "tiles.hx"
    old: Rows | None = None
    new = expected_rows(tiles, names_in(tiles))
    rounds = 0
    while kills:
        rounds += 1
        # The fake takes a millisecond for a tile, so that most of these fall into a build.
        disturbed = {"delay_s": 0.001, "kill_after_s": moments.uniform(0.0, 0.4)}
        status, resumed = _go_on(children, tiles, output, **disturbed)
        kills -= status == KILLED
        state = state_of(output, old, new)
        yield Aftermath(status=status, state=state, resumed=resumed)
        if state == "new" and is_rebuild:
            old = new
            _rewrite(tiles, rounds)
        elif state == "new":
            shutil.rmtree(output)
        new = expected_rows(tiles, names_in(tiles))
    resumed = resume(children, tiles, output, new)
    yield Aftermath(status=0, state=state_of(output, old, new), resumed=resumed)


def kill_change_at_every_step(
    folder: Path, children: ChildBuilds, command: str
) -> Iterator[Changed]:
    """Kill a command before its first write to the file system, its second, until it gets through.

    Args:
        folder: an empty one.
        children: where the command runs.
        command: a name of CHANGES.
    """
    tiles = write_tiles(folder / "tiles", numbered(24))
    start, output = folder / "start.hx", folder / "tiles.hx"
    before = ["build"] if command in ("remove", "calibrate") else ["build", "remove"]
    for name in before:
        assert children.run(tiles, start, command=name, shard_rows=16)["status"] == 0
    every = expected_rows(tiles, numbered(24))
    left = expected_rows(tiles, numbered(21, start=3))
    old, new = {
        "remove": (every, left),
        "restore": (left, every),
        "calibrate": (every, every),
    }.get(command, (left, left))
    status, steps = KILLED, 0
    while status == KILLED:
        shutil.rmtree(output, ignore_errors=True)
        shutil.copytree(start, output)
        steps += 1
        status = children.run(tiles, output, command=command, die_at=steps)["status"]
        state = _state_of_change(start, output, old, new)
        healed = ""
        if steps % _EACH == 0 or status != KILLED:
            healed = children.run(tiles, output, command=command).get("error") or ""
            healed += _state_of_change(start, output, old, new).removeprefix("new")
            healed += "".join(leftovers(output)).removesuffix("calibration.json")
        yield Changed(status=status, state=state, healed=healed)


def _state_of_change(start: Path, output: Path, old: Rows, new: Rows) -> str:
    """Tell which state opens, having compared every value and every hash."""
    steps = read_manifest(output).generation - read_manifest(start).generation
    steps += (output / "calibration.json").exists()
    try:
        require_sound(output, new if steps else old)
        manifest = read_manifest(output)
        read_calibration(output, manifest.fingerprint, manifest.distance_name)
    except (AssertionError, IndexFormatError) as error:
        return f"a mixture: {error}"
    return ("old", "new")[steps]


def state_of(output: Path, old: Rows | None, new: Rows) -> str:
    """Tell which state opens, having compared every value and every hash."""
    try:
        if not (output / "manifest.json").exists():
            OpenIndex(output)
            return "opened without a manifest"
        is_new = indexed_rows(OpenIndex(output)) == new
        require_sound(output, new if is_new else old or {})
    except IndexFormatError as error:
        is_none = old is None and ("holds no finished" in str(error) or "no such" in str(error))
        return "none" if is_none else str(error)
    except AssertionError as error:
        return f"a mixture: {error}"
    return "new" if is_new else "old"


def resume(children: ChildBuilds, tiles: Path, output: Path, new: Rows) -> Resumed:
    """Go on undisturbed, and compare with an index that never was disturbed."""
    _, resumed = _go_on(children, tiles, output)
    problem = resumed.problem
    state = state_of(output, None, new)
    if state != "new":
        problem += f"not as built undisturbed: {state}"
    if left := leftovers(output):
        problem += f"left behind: {left}"
    return Resumed(repeated=resumed.repeated, lost=resumed.lost, problem=problem)


def _go_on(
    children: ChildBuilds, tiles: Path, output: Path, **disturbed: Any
) -> tuple[int, Resumed]:
    log = output.with_name("log")
    log.unlink(missing_ok=True)
    before = _finished_contents(output)
    answer = children.run(tiles, output, log=log, **disturbed)
    encoded = log.read_text().split() if log.exists() else []
    repeated = len(set(encoded) & before) + len(encoded) - len(set(encoded))
    wanted = {row[1] for row in expected_rows(tiles, names_in(tiles)).values()}
    lost = (before & wanted) - _finished_contents(output)
    # A build that was killed leaves nothing that looks damaged.
    problem = "; ".join([answer.get("error") or "", *answer.get("warnings", [])]).strip("; ")
    return answer["status"], Resumed(repeated=repeated, lost=len(lost), problem=problem)


def _finished_contents(output: Path) -> set[str]:
    """Name the contents that shards with a receipt hold, without changing the index."""
    if not output.exists():
        return set()
    copy = output.with_name("copy.hx")
    shutil.copytree(output, copy)
    found = finished_shards(copy, _FINGERPRINT)
    shutil.rmtree(copy)
    return {digest for shard in found for digest in shard.rows["sha256"].to_pylist()}


def _change(tiles: Path) -> None:
    """Add, remove and change tiles so that shards are kept, copied from, merged and written."""
    write_tiles(tiles, numbered(4, start=30))
    (tiles / "t0012.png").unlink()
    (tiles / "t0009.png").write_text("another picture")
    (tiles / "t0014.png").rename(tiles / "a.png")


def _rewrite(tiles: Path, number: int) -> None:
    """Change every other tile, add some, remove some."""
    for name in numbered(200)[::2]:
        (tiles / name).write_text(f"picture {number} of {name}")
    write_tiles(tiles, numbered(5, start=200 + 5 * number))
    (tiles / numbered(200)[(2 * number - 1) % 200]).unlink(missing_ok=True)


def names_in(tiles: Path) -> list[str]:
    return sorted(path.name for path in tiles.iterdir())
