"""Build by several processes of this machine, one a GPU where there are some."""

import itertools
import multiprocessing
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Final

from histo_index.cluster.building.crew import Event, Worker, carry_out
from histo_index.cluster.building.worker import Done, MakeEncode, ShardWorker
from histo_index.hardware import usable_cores
from histo_index.indexer.format.shards import Receipt
from histo_index.indexer.runner import Assignment, Place
from histo_index.indexer.writing.shard_tasks import Progress

_JOIN_S: Final = 5.0


@dataclass(frozen=True, kw_only=True)
class ProcessRunner:
    """Carries out tasks by processes; see `Runner`.

    Attributes:
        make_encode: opens the encoder in a process; pickled.
        workers: number of processes.
        gpus: number of GPUs that they are spread over; 0 for none.
    """

    make_encode: MakeEncode
    workers: int
    gpus: int = 0

    def run(
        self, assignments: Sequence[Assignment], place: Place, progress: Progress
    ) -> Iterator[Receipt]:
        """Carry out tasks; see `Runner.run`."""
        crew = _Processes(self, count=min(self.workers, len(assignments)))
        return carry_out(crew, assignments, place, progress)


class _Processes:
    """Processes that each serve one `ShardWorker` on a pipe."""

    def __init__(self, runner: ProcessRunner, *, count: int) -> None:
        self._runner = runner
        self._cores = max(usable_cores() // count, 1)
        # A fork of a process that has used OpenVINO or a GPU would hang or crash.
        self._context = multiprocessing.get_context("spawn")
        self._numbers = itertools.count()
        self._processes: dict[Connection, BaseProcess] = {}
        self._slots: dict[Connection, int] = {}
        self._idle: list[Connection] = []
        for slot in range(count):
            self._hire(slot)

    def idle(self) -> Sequence[Worker]:
        return list(self._idle)

    def give(self, worker: Any, assignments: Sequence[Assignment], place: Place) -> None:
        self._idle.remove(worker)
        with suppress(OSError):  # it died while idle; `wait` tells
            worker.send((list(assignments), place))

    def wait(self) -> Sequence[Event]:
        return [self._hear(pipe) for pipe in wait(list(self._processes))]

    def close(self) -> None:
        for pipe, process in self._processes.items():
            pipe.close()
            process.terminate()
        for process in self._processes.values():
            process.join(_JOIN_S)
            if process.is_alive():
                process.kill()
        self._processes.clear()

    def _hire(self, slot: int) -> None:
        ours, theirs = self._context.Pipe()
        gpu = slot % self._runner.gpus if self._runner.gpus else None
        process = self._context.Process(
            target=serve, args=(theirs, self._runner.make_encode, self._cores, gpu), daemon=True
        )
        process.start()
        theirs.close()
        self._processes[ours], self._slots[ours] = process, slot

    def _hear(self, pipe: Any) -> Event:
        try:
            answer: Done | Mapping[str, str] | Exception = pipe.recv()
        except (EOFError, OSError):
            return self._replace(pipe)
        if isinstance(answer, Exception):
            raise answer
        self._idle.append(pipe)
        if isinstance(answer, Done):
            return Event(worker=pipe, done=answer)
        return Event(worker=pipe, runtime=answer)

    def _replace(self, pipe: Any) -> Event:
        process = self._processes.pop(pipe)
        process.join(_JOIN_S)
        if pipe in self._idle:
            self._idle.remove(pipe)
        pipe.close()
        self._hire(self._slots.pop(pipe))
        return Event(worker=pipe, reason=f"process ended with status {process.exitcode}")


def serve(pipe: Connection, make_encode: MakeEncode, cores: int, gpu: int | None) -> None:
    """Serve a worker on a pipe: what it computes with, then an answer for each request.

    Ends when the other side closes the pipe, or is gone.
    """
    # Ctrl-C reaches every process of the group; the parent ends its children itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(gpu)
    worker = ShardWorker(make_encode, cores=cores)
    try:
        pipe.send(_try(worker.start))
        while True:
            assignments, place = pipe.recv()
            pipe.send(_try(worker.run, assignments, place))
    except (EOFError, OSError):
        return


def _try(call: Any, *arguments: Any) -> Any:
    try:
        return call(*arguments)
    except Exception as error:  # told to the parent, which raises it
        return error
