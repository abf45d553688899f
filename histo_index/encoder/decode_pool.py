"""Decode tiles in child processes, in order, a bounded number ahead.

A child that dies (killed for memory, or by a fault in a decoder) or hangs costs the tile it was at,
with that reason; a new child goes on with the next one.
"""

import itertools
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from histo_index.encoder.decode_worker import DecodeSettings, PreparedTile
from histo_index.errors import ImageError

Prepared = PreparedTile | ImageError

# -P and -c: nothing in the working directory can take the place of a module, and classes are
# pickled under their module's own name.
_WORKER: Final = "from histo_index.encoder.decode_worker import main; main()"
# Tiles per message: enough that pipes and threads cost little, few enough to share a short list.
_CHUNK: Final = 8
# Chunks in flight per worker: one being decoded, one being read, one in reserve (3.6 MB at 224 px).
_AHEAD: Final = 3
# A tile within the limits decodes in under 10 s; a network folder may stall for longer.
_CHUNK_TIMEOUT_S: Final = 300.0


def usable_cores() -> int:
    """Count the cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class DecodePool:
    """A few decoder processes that live as long as the pool."""

    def __init__(self, settings: DecodeSettings, *, workers: int) -> None:
        self._workers = [_Worker(settings) for _ in range(workers)]
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="decode")

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
        """End the child processes."""
        for worker in self._workers:
            worker.end()
        self._threads.shutdown(cancel_futures=True)

    def prepare(self, paths: Iterable[Path]) -> Iterator[Prepared]:
        """Decode and fit tiles.

        Args:
            paths: read lazily, a few chunks ahead.

        Yields:
            One result per path, in order: the tile, or the error it is rejected with.
        """
        source = iter(paths)
        pending: deque[Future[list[Prepared]]] = deque()
        ahead = _AHEAD * len(self._workers)
        try:
            while chunk := list(itertools.islice(source, _CHUNK)):
                pending.append(self._threads.submit(self._run, chunk))
                if len(pending) >= ahead:
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()

    def _run(self, paths: list[Path]) -> list[Prepared]:
        worker = self._idle.get()
        try:
            return worker.prepare(paths)
        finally:
            self._idle.put(worker)


class _Worker:
    """One child process, started when first needed and again after it died."""

    def __init__(self, settings: DecodeSettings) -> None:
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = False

    def prepare(self, paths: list[Path]) -> list[Prepared]:
        results: list[Prepared] = []
        while len(results) < len(paths):
            rest = paths[len(results) :]
            answered = self._ask(rest)
            results += answered
            if len(answered) < len(rest):
                results.append(ImageError(f"{rest[len(answered)]}: {self._obituary()}"))
        return results

    def end(self) -> None:
        self._ended = True
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _ask(self, paths: list[Path]) -> list[Prepared]:
        """Send paths and take answers until all have come or the process is gone."""
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        watchdog = threading.Timer(_CHUNK_TIMEOUT_S, process.kill)
        watchdog.start()
        answers: list[Prepared] = []
        try:
            pickle.dump(paths, process.stdin)
            process.stdin.flush()
            while len(answers) < len(paths):
                answers.append(pickle.load(process.stdout))
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            process.kill()
        finally:
            watchdog.cancel()
        return answers

    def _running(self) -> subprocess.Popen[bytes]:
        if self._ended:
            raise RuntimeError("the decode pool is closed")
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _WORKER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            assert self._process.stdin is not None
            pickle.dump(self._settings, self._process.stdin)
        return self._process

    def _obituary(self) -> str:
        assert self._process is not None
        status = self._process.wait()
        how = f"killed by signal {-status}" if status < 0 else f"ended with status {status}"
        return f"its decoder process was {how}; the tile is too large or hostile, remove it"
