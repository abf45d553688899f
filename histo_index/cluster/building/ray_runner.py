"""Build by the machines of a Ray cluster, which share the folders of index and tiles."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from histo_index.cluster.building.crew import Event, Worker, carry_out
from histo_index.cluster.building.worker import Done, MakeEncode, ShardWorker
from histo_index.cluster.ray_session import ray_session
from histo_index.indexer.format.shards import Receipt
from histo_index.indexer.runner import Assignment, Place
from histo_index.indexer.writing.shard_tasks import Progress

_WARN_S: Final = 60.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RayRunner:
    """Carries out tasks by actors of a Ray cluster; see `Runner`.

    Attributes:
        make_encode: opens the encoder in an actor; pickled.
        workers: number of actors; None is as many as fit on the cluster.
        address: HOST:PORT of the cluster; None starts one on loopback for the build.
        cores: cores of each actor.
        gpus: GPUs of each actor.
        is_strict: refuse machines that compute in different ways.
    """

    make_encode: MakeEncode
    workers: int | None = None
    address: str | None = None
    cores: int = 1
    gpus: float = 0
    is_strict: bool = False

    def run(
        self, assignments: Sequence[Assignment], place: Place, progress: Progress
    ) -> Iterator[Receipt]:
        """Carry out tasks; see `Runner.run`.

        Raises:
            InputError: Ray is not installed, or the cluster cannot be used.
        """
        own = None if self.workers is None else self.workers * self.cores
        with ray_session(self.address, cpus=own) as ray:
            fitting = self.workers or _count_fitting(ray.cluster_resources(), self)
            count = max(min(fitting, len(assignments)), 1)
            crew = _Actors(ray, self, count=count)
            yield from carry_out(crew, assignments, place, progress, is_strict=self.is_strict)


def _count_fitting(resources: Mapping[str, float], runner: RayRunner) -> int:
    """Count the actors that fit on a cluster."""
    if runner.gpus:
        return int(resources.get("GPU", 0) / runner.gpus)
    return int(resources.get("CPU", 0) / runner.cores)


class _Actors:
    """Actors that each hold one `ShardWorker`.

    Ray does not restart them: a task that waits for an actor whose machine is gone would wait for
    ever. An actor that dies is replaced by one that gets work only when it has started somewhere.
    """

    def __init__(self, ray: Any, runner: RayRunner, *, count: int) -> None:
        self._ray = ray
        self._runner = runner
        self._class = ray.remote(
            num_cpus=runner.cores, num_gpus=runner.gpus, max_restarts=0, max_task_retries=0,
            scheduling_strategy="SPREAD",
        )(ShardWorker)  # fmt: skip
        self._awaited: dict[Any, Any] = {}
        self._idle: list[Any] = []
        for _ in range(count):
            self._hire()

    def idle(self) -> Sequence[Worker]:
        return list(self._idle)

    def give(self, worker: Any, assignments: Sequence[Assignment], place: Place) -> None:
        self._idle.remove(worker)
        self._awaited[worker.run.remote(list(assignments), place)] = worker

    def wait(self) -> Sequence[Event]:
        ready, _ = self._ray.wait(list(self._awaited), num_returns=1, timeout=_WARN_S)
        if not ready:
            _log.info("waiting for the cluster: %d answers are due", len(self._awaited))
        return [self._hear(reference) for reference in ready]

    def close(self) -> None:
        for actor in [*self._awaited.values(), *self._idle]:
            self._ray.kill(actor)

    def _hire(self) -> None:
        actor = self._class.remote(self._runner.make_encode, cores=self._runner.cores)
        self._awaited[actor.start.remote()] = actor

    def _hear(self, reference: Any) -> Event:
        actor = self._awaited.pop(reference)
        errors = self._ray.exceptions
        try:
            answer: Done | Mapping[str, str] = self._ray.get(reference)
        except errors.RayTaskError as error:
            raise _cause(error) from error
        except errors.RayError as error:
            self._hire()
            return Event(worker=actor, reason=" ".join(str(error).split())[:200])
        self._idle.append(actor)
        if isinstance(answer, Done):
            return Event(worker=actor, done=answer)
        return Event(worker=actor, runtime=answer)


def _cause(error: Any) -> Exception:
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, Exception) else error
