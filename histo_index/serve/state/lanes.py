"""Lanes: bounded queues before a few threads, so that a crowd gets 503 and memory stays flat."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from histo_index.serve.config import Limits
from histo_index.serve.safety.refusal import busy

_Result = TypeVar("_Result")
_RETRY_S = 5


class Lane:
    """A few threads for one kind of work, and a queue of limited length before them."""

    def __init__(self, name: str, threads: int, limits: Limits) -> None:
        """Start no thread yet.

        Args:
            name: of the threads.
            threads: how many work at once.
            limits: how many may wait for them, and how long, work included.
        """
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._most = threads + limits.waiting
        self._wait_s = limits.wait_s
        self._lock = threading.Lock()
        self._inside = 0

    @property
    def inside(self) -> int:
        """How much is being worked on or waits."""
        return self._inside

    async def run(self, function: Callable[..., _Result], *arguments: Any) -> _Result:
        """Call a function on a thread of the lane.

        Raises:
            RefusalError: too many wait already, or it took too long.
        """
        future = self.start(function, *arguments)
        try:
            async with asyncio.timeout(self._wait_s):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise busy(_RETRY_S) from None

    async def finish(self, function: Callable[..., _Result], *arguments: Any) -> _Result:
        """Call a function that changes something: it is refused only if it did not begin.

        Raises:
            RefusalError: too many wait already, or it waited too long.
        """
        future = self.start(function, *arguments)
        waiting = asyncio.wrap_future(future)
        try:
            async with asyncio.timeout(self._wait_s):
                return await asyncio.shield(waiting)
        except TimeoutError:
            if future.cancel():
                raise busy(_RETRY_S) from None
        return await waiting

    def start(self, function: Callable[..., _Result], *arguments: Any) -> Future[_Result]:
        """Let a thread of the lane call a function, and do not wait for it.

        Raises:
            RefusalError: too many wait already.
        """
        with self._lock:
            if self._inside >= self._most:
                raise busy(_RETRY_S)
            self._inside += 1
        future = self._threads.submit(function, *arguments)
        # Also when nobody waits any more: the thread is busy until it is done.
        future.add_done_callback(self._leave)
        return future

    def _leave(self, future: Future[Any]) -> None:
        with self._lock:
            self._inside -= 1

    def close(self) -> None:
        """End the threads when their work is done; what waits is dropped."""
        self._threads.shutdown(wait=True, cancel_futures=True)
