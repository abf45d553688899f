"""Build by several processes of this machine, one a GPU where there are some."""

import itertools
import multiprocessing
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Final

from histo_index.cluster.building.crew import Event, Worker, carry_out, count_needed
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
        gpus: names of the GPUs that they are spread over, as in CUDA_VISIBLE_DEVICES.
    """

    make_encode: MakeEncode
    workers: int
    gpus: tuple[str, ...] = ()

    def run(
        self, assignments: Sequence[Assignment], place: Place, progress: Progress
    ) -> Iterator[Receipt]:
        """Carry out tasks; see `Runner.run`."""
        crew = ProcessCrew(self, count=count_needed(self.workers, assignments))
        return carry_out(crew, assignments, place, progress)


class ProcessCrew:
    """Processes that each serve one `ShardWorker` on a pipe; see `Crew`.

    Attributes:
        size: number of processes.
        processes: by their pipes.
    """

    def __init__(self, runner: ProcessRunner, *, count: int) -> None:
        """Start processes, at least one."""
        self.size = count
        self._runner = runner
        self._cores = max(usable_cores() // count, 1)
        # A fork of a process that has used OpenVINO or a GPU would hang or crash.
        self._context = multiprocessing.get_context("spawn")
        self._numbers = itertools.count()
        self.processes: dict[Connection, BaseProcess] = {}
        self._slots: dict[Connection, int] = {}
        self._idle: list[Connection] = []
        for slot in range(count):
            self._start_worker(slot)

    def idle(self) -> Sequence[Worker]:
        """Name the processes that have started and have nothing to do."""
        return list(self._idle)

    def assign(self, worker: Any, assignments: Sequence[Assignment], place: Place) -> None:
        """Let a process carry out tasks."""
        self._idle.remove(worker)
        with suppress(OSError):  # it died while idle; `wait` returns that
            worker.send((list(assignments), place))

    def wait(self) -> Sequence[Event]:
        """Wait until something happens; see `Crew.wait`."""
        return [self._read_answer(pipe) for pipe in wait(list(self.processes))]

    def close(self) -> None:
        """End all processes."""
        for pipe, process in self.processes.items():
            pipe.close()
            process.terminate()
        for process in self.processes.values():
            _end(process)
        self.processes.clear()

    def _start_worker(self, slot: int) -> None:
        ours, theirs = self._context.Pipe()
        gpus = self._runner.gpus
        worker = ShardWorker(
            self._runner.make_encode, cores=self._cores,
            gpus=gpus[slot % len(gpus)] if gpus else None,
        )  # fmt: skip
        process = self._context.Process(target=serve, args=(theirs, worker), daemon=True)
        process.start()
        theirs.close()
        self.processes[ours], self._slots[ours] = process, slot

    def _read_answer(self, pipe: Any) -> Event:
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
        process = self.processes.pop(pipe)
        _end(process)
        if pipe in self._idle:
            self._idle.remove(pipe)
        pipe.close()
        self._start_worker(self._slots.pop(pipe))
        return Event(worker=pipe, reason=f"process ended with status {process.exitcode}")


def _end(process: BaseProcess) -> None:
    """Wait until a process has ended, and kill one that does not."""
    process.join(_JOIN_S)
    if process.is_alive():
        process.kill()
        process.join()


def serve(pipe: Connection, worker: ShardWorker) -> None:
    """Serve a worker on a pipe: what it computes with, then an answer for each request.

    Ends when the other side closes the pipe, or is gone.
    """
    # Ctrl-C reaches every process of the group; the parent ends its children itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
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
    except Exception as error:  # the parent raises it
        return error
