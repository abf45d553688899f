"""Let Ctrl-C stop a run only where its state is whole, so that it can be saved."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self


class Interruption:
    """Stand in for the handler of SIGINT and call it between steps.

    A second SIGINT ends the run at once. Outside the main thread, where Python delivers no signals,
    this does nothing.
    """

    def __init__(self) -> None:
        self._is_asked = False
        self._is_in_step = False
        self._previous: Callable[[int, FrameType | None], Any] | None = None

    def __enter__(self) -> Self:
        previous = signal.getsignal(signal.SIGINT)
        if callable(previous) and threading.current_thread() is threading.main_thread():
            self._previous = previous
            signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    @property
    def can_save(self) -> bool:
        """Whether SIGINT came and the state is that after a whole step."""
        return self._is_asked and not self._is_in_step

    @contextmanager
    def step(self) -> Iterator[None]:
        """Keep SIGINT until the block ends."""
        self._is_in_step = True
        yield
        # Not in a `finally`: an error inside the block leaves half a step.
        self._is_in_step = False
        if self._is_asked:
            self._stop(signal.SIGINT, None)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        is_second, self._is_asked = self._is_asked, True
        if is_second or not self._is_in_step:
            self._stop(number, frame)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        assert self._previous is not None
        self._previous(number, frame)
