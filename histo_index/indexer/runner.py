"""Who carries out the shard tasks of a build: this process, or others here or elsewhere."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from histo_index.indexer.format.shards import Receipt
from histo_index.indexer.writing.embedding_store import EmbeddingStore
from histo_index.indexer.writing.plan import FinishedShard, ShardTask
from histo_index.indexer.writing.shard_tasks import Progress


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """A task, with all of the index that it needs.

    Attributes:
        task: what to write.
        finished: shards that hold some of its tiles already.
    """

    task: ShardTask
    finished: tuple[FinishedShard, ...]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a build reads and writes; every process sees it under the same paths.

    Attributes:
        folder: the index, an absolute path.
        root: the folder that tile paths are relative to, an absolute path.
    """

    folder: Path
    root: Path


class Runner(Protocol):
    """Carries out the tasks of a build."""

    def run(
        self, assignments: Sequence[Assignment], place: Place, progress: Progress
    ) -> Iterator[Receipt]:
        """Carry out tasks, each at least once; the first published shard counts.

        Yields:
            A receipt for each task, in any order.

        Raises:
            HistoIndexError: the work cannot be done.
            OSError: the disk is full or not writable; finished shards stay.
        """


def run_elsewhere(
    runner: Runner,
    tasks: Sequence[ShardTask],
    *,
    store: EmbeddingStore,
    folder: Path,
    root: Path,
    progress: Progress,
) -> Iterator[Receipt]:
    """Carry out tasks by a runner, see `Runner.run`; the rest is as for `run_tasks`."""
    held = zip(tasks, store.holding(tasks), strict=True)
    assignments = [Assignment(task=task, finished=finished) for task, finished in held]
    # A worker elsewhere has another working directory.
    place = Place(folder=Path(os.path.abspath(folder)), root=Path(os.path.abspath(root)))
    return runner.run(assignments, place, progress)
