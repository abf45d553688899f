"""Build by the machines of a Ray cluster, which share the folders of index and tiles."""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from histo_index.cluster.building.crew import Event, Worker, carry_out, count_needed
from histo_index.cluster.building.worker import Done, MakeEncode, ShardWorker
from histo_index.cluster.ray_session import cause_of, ray_session
from histo_index.errors import InputError
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
        cores: cores of each actor, or fewer where no machine has so many.
        gpus: GPUs of each actor; None is one if the cluster has any.
        is_strict: refuse machines that compute in different ways.
    """

    make_encode: MakeEncode
    workers: int | None = None
    address: str | None = None
    cores: int = 1
    gpus: float | None = None
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
            needs = choose_needs(ray.nodes(), cores=self.cores, gpus=self.gpus)
            count = count_needed(self.workers or needs.fitting, assignments)
            crew = _Actors(ray, self.make_encode, needs, count=count)
            yield from carry_out(crew, assignments, place, progress, is_strict=self.is_strict)


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What an actor needs.

    Attributes:
        cores: of its machine.
        gpus: of it.
        fitting: how many such actors fit on the cluster.
    """

    cores: int
    gpus: float
    fitting: int


def choose_needs(nodes: Sequence[Mapping[str, Any]], *, cores: int, gpus: float | None) -> Needs:
    """Choose what an actor needs, such that some machine has it.

    Args:
        nodes: as Ray lists them.
        cores: at most.
        gpus: of each actor; None is one if the cluster has any.

    Raises:
        InputError: no machine has so many GPUs.
    """
    machines = [node["Resources"] for node in nodes if node["Alive"]]
    cores = max(min(cores, max(int(machine.get("CPU", 0)) for machine in machines)), 1)
    if gpus is None:
        gpus = float(any(machine.get("GPU", 0) >= 1 for machine in machines))
    fitting = sum(
        int(min(machine.get("CPU", 0) / cores, machine.get("GPU", 0) / gpus if gpus else math.inf))
        for machine in machines
    )
    if not fitting:
        raise InputError(
            f"no machine of the cluster has {cores} cores and {gpus:g} GPUs; start Ray there with "
            "--num-cpus and --num-gpus, or pass fewer --gpus-per-worker"
        )
    return Needs(cores=cores, gpus=gpus, fitting=fitting)


class _Actors:
    """Actors that each hold one `ShardWorker`.

    Ray does not restart them: a task that waits for an actor whose machine is gone would wait for
    ever. An actor that dies is replaced by one that gets work only when it has started somewhere.
    """

    def __init__(self, ray: Any, make_encode: MakeEncode, needs: Needs, *, count: int) -> None:
        self.size = count
        self._ray = ray
        kind = ray.remote(
            num_cpus=needs.cores, num_gpus=needs.gpus, max_restarts=0, max_task_retries=0,
            scheduling_strategy="SPREAD",
        )(ShardWorker)  # fmt: skip
        # Ray lets an actor without GPUs see all of them.
        gpus = None if needs.gpus else ""
        self._make = partial(kind.remote, make_encode, cores=needs.cores, gpus=gpus)
        self._awaited: dict[Any, Any] = {}
        self._idle: list[Any] = []
        for _ in range(count):
            self._start_worker()

    def idle(self) -> Sequence[Worker]:
        return list(self._idle)

    def assign(self, worker: Any, assignments: Sequence[Assignment], place: Place) -> None:
        self._idle.remove(worker)
        self._awaited[worker.run.remote(list(assignments), place)] = worker

    def wait(self) -> Sequence[Event]:
        ready, _ = self._ray.wait(list(self._awaited), num_returns=1, timeout=_WARN_S)
        if not ready:
            _log.info("waiting for the cluster: %d answers are due", len(self._awaited))
        return [self._read_answer(reference) for reference in ready]

    def close(self) -> None:
        for actor in [*self._awaited.values(), *self._idle]:
            self._ray.kill(actor)

    def _start_worker(self) -> None:
        actor = self._make()
        self._awaited[actor.start.remote()] = actor

    def _read_answer(self, reference: Any) -> Event:
        actor = self._awaited.pop(reference)
        errors = self._ray.exceptions
        try:
            answer: Done | Mapping[str, str] = self._ray.get(reference)
        except errors.RayTaskError as error:
            raise cause_of(error) from error
        except errors.RayError as error:
            # It may be alive and only out of reach: then it would keep its cores.
            self._ray.kill(actor)
            self._start_worker()
            return Event(worker=actor, reason=" ".join(str(error).split())[:200])
        self._idle.append(actor)
        if isinstance(answer, Done):
            return Event(worker=actor, done=answer)
        return Event(worker=actor, runtime=answer)
