"""Divide the tasks of a build among workers that may be lost at any time."""

import logging
import time
from collections import Counter, deque
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from histo_index.cluster.building.worker import Done
from histo_index.errors import HistoIndexError, MismatchError
from histo_index.indexer.format.shards import Receipt
from histo_index.indexer.runner import Assignment, Place
from histo_index.indexer.writing.shard_tasks import Progress, Step

# After so many lost workers the task is the reason: too little memory, mostly. If so many for each
# of the crew are lost in a row before they have started, it is the encoder: fewer may have been on
# one machine that was lost.
_MOST_LOSSES: Final = 3
# Work handed out at once: enough that starting it costs little, and little is lost with a worker.
_SECONDS_AT_ONCE: Final = 30.0
_MOST_AT_ONCE: Final = 64
_LOG_EVERY_S: Final = 30.0
# So many shards for each worker keep all busy almost to the end.
_SHARDS_EACH: Final = 4

_log = logging.getLogger(__name__)

Worker = Hashable


@dataclass(frozen=True, kw_only=True)
class Event:
    """What happened to a worker.

    Attributes:
        worker: which one.
        done: what it did; None if it was lost.
        runtime: what it computes with, if it has just started.
        reason: why it was lost; empty if it was not.
    """

    worker: Worker
    done: Done | None = None
    runtime: Mapping[str, str] | None = None
    reason: str = ""


class Crew(Protocol):
    """Workers of one kind. A lost one is replaced by the crew.

    Attributes:
        size: number of workers.
    """

    size: int

    def idle(self) -> Sequence[Worker]:
        """Name the workers that have started and have nothing to do."""

    def assign(self, worker: Worker, assignments: Sequence[Assignment], place: Place) -> None:
        """Let a worker carry out tasks."""

    def wait(self) -> Sequence[Event]:
        """Wait until something happens.

        Raises:
            HistoIndexError: a worker found that the work cannot be done.
            OSError: a worker could not write.
        """

    def close(self) -> None:
        """End all workers."""


@dataclass(kw_only=True)
class _Share:
    """The work of a build, as it is handed out."""

    waiting: deque[Assignment]
    running: dict[Worker, list[Assignment]] = field(default_factory=dict)
    losses: Counter[str] = field(default_factory=Counter)
    seconds_each: float = _SECONDS_AT_ONCE
    started: set[Worker] = field(default_factory=set)
    lost_at_start: int = 0

    def choose_next(self) -> list[Assignment]:
        """Choose what a worker does next: about half a minute of work, less towards the end.

        A task that has lost a worker is alone, so that it does not take others with it.
        """
        first = [self.waiting.popleft()]
        if self._has_lost(first[0]):
            return first
        count = min(int(_SECONDS_AT_ONCE / max(self.seconds_each, 1e-3)), _MOST_AT_ONCE)
        count = min(count, (len(self.waiting) + 1) // (2 * len(self.running) + 2)) - 1
        while len(first) <= count and not self._has_lost(self.waiting[0]):
            first.append(self.waiting.popleft())
        return first

    def begin(self, worker: Worker) -> None:
        """Note that a worker has opened the encoder."""
        self.started.add(worker)
        self.lost_at_start = 0

    def put_back(self, event: Event, size: int) -> None:
        """Hand out again what a lost worker of a crew of some size had.

        Raises:
            HistoIndexError: a task, or the start, has lost too many workers.
        """
        self.lost_at_start += event.worker not in self.started
        self.started.discard(event.worker)
        if self.lost_at_start >= _MOST_LOSSES * size:
            raise HistoIndexError(
                f"{self.lost_at_start} workers were lost while they opened the encoder, the last: "
                f"{event.reason}; run the build without --engine to see why"
            )
        for entry in reversed(self.running.pop(event.worker, [])):
            name = entry.task.shard_id
            self.losses[name] += 1
            if self.losses[name] >= _MOST_LOSSES:
                raise HistoIndexError(
                    f"{_MOST_LOSSES} workers were lost with shard {name[:12]}, the last: "
                    f"{event.reason}; give workers more memory, or run the build without --engine"
                )
            self.waiting.appendleft(entry)

    def _has_lost(self, entry: Assignment) -> bool:
        return self.losses[entry.task.shard_id] > 0


def count_needed(workers: int, assignments: Sequence[Assignment]) -> int:
    """Return for how many workers there is work, and log it if that leaves some without."""
    if len(assignments) < workers:
        tiles = sum(len(entry.task.tiles) for entry in assignments)
        _log.info(
            "%d of %d workers have a shard; a new index with --shard-rows %d would use all",
            len(assignments), workers, max(tiles // (_SHARDS_EACH * workers), 1),
        )  # fmt: skip
    return min(workers, len(assignments))


def carry_out(
    crew: Crew,
    assignments: Sequence[Assignment],
    place: Place,
    progress: Progress,
    *,
    is_strict: bool = False,
) -> Iterator[Receipt]:
    """Carry out tasks by a crew, which is ended with them.

    Args:
        crew: the workers.
        assignments: what to do.
        place: where.
        progress: called for every tile, when its worker reports.
        is_strict: refuse workers that compute in different ways.

    Yields:
        A receipt for each task, in the order in which they are done.

    Raises:
        MismatchError: two workers compute in different ways, and `is_strict`.
        HistoIndexError: the work cannot be done.
        OSError: a worker could not write.
    """
    share = _Share(waiting=deque(assignments))
    runtimes: list[Mapping[str, str]] = []
    rates = _Rates()
    try:
        while share.waiting or share.running:
            for worker in crew.idle():
                if share.waiting:
                    share.running[worker] = share.choose_next()
                    crew.assign(worker, share.running[worker], place)
            for event in crew.wait():
                if event.runtime is not None:
                    runtimes.append(event.runtime)
                    share.begin(event.worker)
                    _compare(runtimes[0], event.runtime, is_strict=is_strict)
                elif event.done is None:
                    _log.warning("a worker was lost (%s); its work is done again", event.reason)
                    share.put_back(event, crew.size)
                else:
                    finished = share.running.pop(event.worker)
                    share.seconds_each = event.done.seconds / len(finished)
                    rates.add(event.done)
                    _count(event.done, progress)
                    yield from event.done.receipts
    finally:
        crew.close()


@dataclass(kw_only=True)
class _Rates:
    """Tiles by machine, logged now and then."""

    tiles: Counter[str] = field(default_factory=Counter)
    started_s: float = field(default_factory=time.monotonic)
    logged_s: float = field(default_factory=time.monotonic)

    def add(self, done: Done) -> None:
        """Count what a worker did."""
        self.tiles[done.host] += sum(done.outcomes.values())
        now_s = time.monotonic()
        if now_s - self.logged_s < _LOG_EVERY_S:
            return
        self.logged_s = now_s
        elapsed_s = now_s - self.started_s
        rates = (f"{host} {count / elapsed_s:.1f}" for host, count in self.tiles.items())
        _log.info("tiles/s by machine: %s", ", ".join(rates))


def _count(done: Done, progress: Progress) -> None:
    for outcome, count in done.outcomes.items():
        for _ in range(count):
            progress(Step(outcome=outcome))


def _compare(first: Mapping[str, str], other: Mapping[str, str], *, is_strict: bool) -> None:
    if first == other:
        return
    apart = ", ".join(f"{first.get(name)} and {other[name]}" for name in other
                      if first.get(name) != other[name])  # fmt: skip
    if is_strict:
        raise MismatchError(
            f"workers compute in different ways: {apart}; use machines of one kind, set "
            "--precision, or leave out --strict"
        )
    _log.warning("workers compute in different ways: %s; each shard records its own", apart)
