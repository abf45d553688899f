"""Promise 1: killed at any moment, a reader opens the old state or the new one, never a mixture."""

from pathlib import Path

import pytest

from tests.promises import slides
from tests.promises.child import CHANGES, KILLED, KILLED_WRITING, ChildBuilds
from tests.promises.conftest import Tell, Tries
from tests.promises.killing import Aftermath, Killings, kill_change_at_every_step

KINDS = ["first build", "rebuild"]


def states(run: list[Aftermath]) -> list[str]:
    return [entry.state for entry in run]


@pytest.mark.parametrize("kind", KINDS)
def test_killed_before_every_write_to_the_file_system_in_turn(
    killings: Killings, kind: str, tries: Tries, tell: Tell
) -> None:
    """Before every third with each push."""
    run = killings.at_every_step[kind]
    before = {"first build": "none", "rebuild": "old"}[kind]
    tell(f"{kind} killed before each of {len(run) - 1} writes", f"states: {set(states(run))}")
    # There is one moment at which the state changes, and it changes once.
    changed = states(run).index("new")
    assert states(run) == [before] * changed + ["new"] * (len(run) - changed)
    assert tries(7, 20) < changed < len(run) - 1
    assert [entry.status for entry in run] == [KILLED] * (len(run) - 1) + [0]


@pytest.mark.parametrize("command", CHANGES)
def test_a_change_killed_before_every_write_leaves_the_old_state_or_the_new_one(
    children: ChildBuilds, tmp_path: Path, command: str, tell: Tell
) -> None:
    run = list(kill_change_at_every_step(tmp_path, children, command))
    found = [entry.state for entry in run]
    tell(f"{command} killed before each of {len(run) - 1} writes", f"states: {set(found)}")
    changed = found.index("new")
    assert found == ["old"] * changed + ["new"] * (len(run) - changed)
    assert changed >= 3
    assert [entry.status for entry in run] == [KILLED] * (len(run) - 1) + [0]
    # Promise 2: the same command, run again, finishes the work and leaves nothing behind.
    assert {entry.healed for entry in run} == {""}


@pytest.mark.parametrize("kind", KINDS)
def test_killed_in_the_middle_of_writing_a_file(killings: Killings, kind: str, tell: Tell) -> None:
    run = killings.while_writing[kind]
    before = {"first build": "none", "rebuild": "old"}[kind]
    tell(f"{kind} killed in {len(run) - 1} writes", f"states: {set(states(run))}")
    # The largest file is the manifest, or comes before it: none of these gets past it.
    assert states(run) == [before] * (len(run) - 1) + ["new"]
    assert [entry.status for entry in run] == [KILLED_WRITING] * (len(run) - 1) + [0]
    assert len(run) > 8


@pytest.mark.parametrize("kind", KINDS)
def test_killed_at_random_moments(killings: Killings, kind: str, tell: Tell) -> None:
    run = killings.at_random[kind]
    killed = [entry for entry in run if entry.status == KILLED]
    wrong = [state for state in states(run) if state not in ("none", "old", "new")]
    tell(f"{kind}: {len(killed)} SIGKILLs at random", f"{len(wrong)} mixtures or damaged files")
    assert wrong == []
    assert [entry.state for entry in run if entry.status == 0] == ["new"] * (len(run) - len(killed))
    # Most kills fell into a build that was under way and not yet done.
    assert 3 * sum(entry.state != "new" for entry in killed) > len(killed) >= 12


def test_a_build_from_slides_killed_before_every_write(
    children: ChildBuilds, tmp_path: Path, tries: Tries, tell: Tell
) -> None:
    run = list(slides.kill_at_every_step(tmp_path, children, every=tries(7, 1)))
    found = states(run)
    tell(f"build from slides killed at {len(run) - 1} writes", f"states: {set(found)}")
    changed = found.index("new")
    assert found == ["old"] * changed + ["new"] * (len(run) - changed)
    assert changed >= 3
    assert [entry.status for entry in run] == [KILLED] * (len(run) - 1) + [0]
    # Promise 2: the next build finishes the work, encodes nothing twice and leaves nothing behind.
    resumed = [entry.resumed for entry in run if entry.resumed]
    assert {(entry.repeated, entry.lost, entry.problem) for entry in resumed} == {(0, 0, "")}
