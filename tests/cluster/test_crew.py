"""Work is divided among workers; lost workers lose and double nothing."""

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pytest

from histo_index.cluster.building.crew import Event, carry_out, count_needed
from histo_index.cluster.building.worker import Done
from histo_index.errors import HistoIndexError, MismatchError
from histo_index.indexer.format.records import FileRecord
from histo_index.indexer.format.shards import Receipt
from histo_index.indexer.runner import Assignment, Place
from histo_index.indexer.writing.plan import ShardTask
from histo_index.indexer.writing.shard_tasks import Step

HERE = Place(folder=Path("/x.hx"), root=Path("/tiles"))


def assignment(name: str) -> Assignment:
    tiles = pa.table({"image_id": ["a", "b"], "path": ["a", "b"], "sha256": ["0", "1"]})
    return Assignment(task=ShardTask(shard_id=name, tiles=tiles, position=0), finished=())


def done(names: Sequence[str], seconds: float) -> Done:
    receipts = tuple(
        Receipt(
            shard_id=name, fingerprint="f", max_pixels=1, rows=2,
            file=FileRecord(path=name, bytes=1, checksum=""), rejected=(), runtime={},
        )
        for name in names
    )  # fmt: skip
    return Done(receipts=receipts, outcomes={"encoded": 2 * len(names)}, host="h", seconds=seconds)


@dataclass(kw_only=True)
class ScriptedCrew:
    """Two workers that follow a script.

    Attributes:
        losing: names of tasks whose worker is lost, once for each time it is listed.
        runtimes: of the workers as they start.
        seconds: that a task takes.
        given: what each worker got, in order.
    """

    losing: list[str] = field(default_factory=list)
    runtimes: Sequence[Mapping[str, str]] = ({"cpu": "a"}, {"cpu": "a"})
    seconds: float = 30
    given: list[list[str]] = field(default_factory=list)
    is_closed: bool = False
    size: int = 2

    def __post_init__(self) -> None:
        self.events = deque(
            Event(worker=number, runtime=runtime) for number, runtime in enumerate(self.runtimes)
        )
        self.free: list[object] = []

    def idle(self) -> Sequence[object]:
        return list(self.free)

    def assign(self, worker: object, assignments: Sequence[Assignment], place: Place) -> None:
        assert place == HERE
        self.free.remove(worker)
        names = [entry.task.shard_id for entry in assignments]
        self.given.append(names)
        lost = next((name for name in names if name in self.losing), None)
        if lost is None:
            self.events.append(Event(worker=worker, done=done(names, self.seconds * len(names))))
            return
        self.losing.remove(lost)
        self.events.append(Event(worker=worker, reason="killed"))
        self.events.append(Event(worker=f"{worker}'", runtime={"cpu": "a"}))

    def wait(self) -> Sequence[Event]:
        event = self.events.popleft()
        if not event.reason:
            self.free.append(event.worker)
        return [event]

    def close(self) -> None:
        self.is_closed = True


def carried(crew: ScriptedCrew, count: int = 20, *, is_strict: bool = False) -> list[str]:
    tasks = [assignment(f"{number:02}") for number in range(count)]
    steps: list[Step] = []
    receipts = list(carry_out(crew, tasks, HERE, steps.append, is_strict=is_strict))
    assert steps == [Step(outcome="encoded")] * (2 * count)
    assert crew.is_closed
    return [receipt.shard_id for receipt in receipts]


def test_every_task_is_done_once() -> None:
    assert sorted(carried(ScriptedCrew())) == [f"{number:02}" for number in range(20)]


def test_workers_without_a_shard_are_not_started_and_a_line_says_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    tasks = [assignment(f"{number:02}") for number in range(24)]
    assert count_needed(8, tasks) == 8
    assert caplog.text == ""
    assert count_needed(8, tasks[:4]) == 4
    assert (
        "4 of 8 workers have a shard; a new index with --shard-rows 1 would use all" in caplog.text
    )


def test_the_work_of_lost_workers_is_done_again(caplog: pytest.LogCaptureFixture) -> None:
    crew = ScriptedCrew(losing=["00", "07", "07", "19"])
    assert sorted(carried(crew)) == [f"{number:02}" for number in range(20)]
    assert caplog.text.count("a worker was lost (killed); its work is done again") == 4


def test_a_task_that_loses_three_workers_ends_the_build() -> None:
    crew = ScriptedCrew(losing=["05"] * 3)
    with pytest.raises(HistoIndexError, match="3 workers were lost with shard 05, the last: kill"):
        carried(crew)
    assert crew.is_closed


def test_workers_that_never_start_end_the_build() -> None:
    crew = ScriptedCrew(runtimes=())
    crew.events = deque(Event(worker=number, reason="killed") for number in range(6))
    with pytest.raises(HistoIndexError, match="6 workers were lost while they opened the encoder"):
        carried(crew)


def test_a_machine_that_is_lost_while_all_start_does_not_end_the_build() -> None:
    crew = ScriptedCrew(size=4)
    crew.events.extendleft(Event(worker=f"start {number}", reason="killed") for number in range(4))
    assert len(carried(crew)) == 20


def test_workers_that_are_lost_while_they_have_nothing_to_do_do_not_end_the_build() -> None:
    """Six workers start; five have nothing to do and are lost before the last task is done."""
    crew = ScriptedCrew(runtimes=[{"cpu": "a"}] * 6, size=1)
    started, crew.events = list(crew.events), deque()
    crew.events.extend(started)
    crew.events.extend(Event(worker=number, reason="idle") for number in range(1, 6))
    assert carried(crew, 1) == ["00"]


def test_a_task_that_loses_workers_takes_no_others_with_it() -> None:
    crew = ScriptedCrew(seconds=0.01, losing=["30"] * 3)
    with pytest.raises(HistoIndexError, match="3 workers were lost with shard 30, the last: kill"):
        carried(crew, 60)
    struck = [names for names in crew.given if "30" in names]
    assert len(struck[0]) > 1
    assert struck[1:] == [["30"], ["30"]]


def test_workers_of_another_kind_are_logged_or_refused(caplog: pytest.LogCaptureFixture) -> None:
    kinds = ({"cpu": "a", "name": "x"}, {"cpu": "b", "name": "x"})
    assert len(carried(ScriptedCrew(runtimes=kinds))) == 20
    assert "workers compute in different ways: a and b; each shard records its own" in caplog.text
    with pytest.raises(MismatchError, match=r"different ways: a and b; use machines of one kind"):
        carried(ScriptedCrew(runtimes=kinds), is_strict=True)


def test_quick_tasks_are_handed_out_several_at_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    slow, quick = ScriptedCrew(seconds=30), ScriptedCrew(seconds=1)
    carried(slow, 60)
    carried(quick, 60)
    assert {len(names) for names in slow.given} == {1}
    # Half a minute of work would be 30; no worker gets more than its share of what is left.
    assert max(len(names) for names in quick.given) == 14
    assert len(quick.given[-1]) == 1
