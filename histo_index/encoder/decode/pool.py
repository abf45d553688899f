"""Decode tiles and slides in child processes, in order, a bounded number ahead.

If a child dies (killed for memory, or by a fault in a decoder) or hangs, its current tile is
rejected with that reason, and a new child continues with the next tile. The other tiles of a slide
that ended several children are rejected untried.
"""

import itertools
import os
import queue
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

from histo_index.encoder.decode.decoder_process import WORKER_CODE, Deaths, DecoderProcess
from histo_index.encoder.decode.worker import PreparedTile, Work
from histo_index.encoder.forking import require_same_process
from histo_index.errors import ImageError

Prepared = PreparedTile | ImageError
Request = TypeVar("Request")
Answer = TypeVar("Answer")

# Tiles per message: many enough for little overhead, few enough to divide a short list.
CHUNK: Final = 8
# Chunks in flight per worker: one being decoded, one being read, one in reserve (3.6 MB at 224 px).
AHEAD: Final = 3
# A tile within the limits decodes in under 10 s; a network folder may stall for longer.
CHUNK_TIMEOUT_S: Final = 300.0


class DecodePool(Generic[Request, Answer]):
    """A few decoder processes that live as long as the pool."""

    def __init__(
        self,
        work: Work[Request, Answer],
        *,
        workers: int,
        worker_code: str = WORKER_CODE,
        chunk: int = CHUNK,
        chunk_timeout_s: float = CHUNK_TIMEOUT_S,
        deaths: Deaths | None = None,
    ) -> None:
        """Prepare the pool; its processes start when they are first needed.

        Args:
            work: what a process does with a request; sent to each process once.
            workers: number of processes.
            worker_code: Python code that a process runs.
            chunk: requests per message.
            chunk_timeout_s: a process that takes longer for a chunk is killed.
            deaths: counts the processes that a slide ended; by default they are never forgotten.
        """
        deaths = deaths or Deaths()
        self._workers = [
            DecoderProcess(work, worker_code, chunk_timeout_s, deaths) for _ in range(workers)
        ]
        self._chunk = chunk
        self._idle: queue.SimpleQueue[DecoderProcess] = queue.SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="decode")
        self._process = os.getpid()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child processes; unfinished tiles are dropped.

        In a process that was forked from that of the pool this does nothing.
        """
        if os.getpid() != self._process:
            return
        for worker in self._workers:
            worker.stop()
        self._threads.shutdown(cancel_futures=True)
        for worker in self._workers:
            worker.wait()

    def prepare(self, requests: Iterable[Request]) -> Iterator[Answer | ImageError]:
        """Answer requests, such as the paths of tiles to decode and fit.

        Args:
            requests: read lazily, a few chunks ahead; as text each is the name of its file or tile.

        Yields:
            One result per request, in order: the answer, or the error it is rejected with.

        Raises:
            HistoIndexError: a child process does not start, or this process was forked since the
                pool was created.
        """
        source = iter(requests)
        pending: deque[Future[list[Any]]] = deque()
        ahead = AHEAD * len(self._workers)
        try:
            while chunk := list(itertools.islice(source, self._chunk)):
                require_same_process(self._process)
                pending.append(self._threads.submit(self._run, chunk))
                if len(pending) >= ahead:
                    yield from pending.popleft().result()
            while pending:
                require_same_process(self._process)
                yield from pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()

    def _run(self, requests: list[Any]) -> list[Any]:
        worker = self._idle.get()
        try:
            return worker.prepare(requests)
        finally:
            self._idle.put(worker)
