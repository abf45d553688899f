"""Interrupt and resume a run: its checkpoint file, its clock and totals, SIGINT between steps.

A resumed run ends with the same weights and figures as one without interruption.
"""

import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import torch

from histo_index.encoder.unfinished import CHECKPOINT_NAME
from histo_index.errors import IndexFormatError


def save_checkpoint(folder: Path, state: Mapping[str, Any]) -> None:
    """Write the state of a run atomically; if killed meanwhile, the previous checkpoint stands.

    Raises:
        OSError: the disk is full or not writable.
    """
    temporary = folder / f".{CHECKPOINT_NAME}.{os.getpid()}"
    try:
        with temporary.open("wb") as file:
            torch.save(dict(state), file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(folder / CHECKPOINT_NAME)
    finally:
        temporary.unlink(missing_ok=True)


def remove_temporaries(folder: Path) -> None:
    """Delete half-written checkpoints of killed runs."""
    for path in folder.glob(f".{CHECKPOINT_NAME}.*"):
        path.unlink(missing_ok=True)


def load_checkpoint(folder: Path) -> dict[str, Any]:
    """Read a checkpoint; no code in it is run.

    Raises:
        IndexFormatError: it is missing or damaged.
    """
    path = folder / CHECKPOINT_NAME
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise IndexFormatError(
            f"{path}: cannot be read ({type(error).__name__}); delete the folder and start again"
        ) from error
    assert isinstance(state, dict)
    return state


class Stopwatch:
    """The wall time of a run, over all interruptions."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start at 0 seconds.

        Args:
            clock: returns seconds since any fixed time.
        """
        self._clock, self._started, self._before = clock, clock(), 0.0

    @property
    def seconds(self) -> float:
        """Seconds of the run so far."""
        return self._before + self._clock() - self._started

    def add_earlier(self, seconds: float) -> None:
        """Add the seconds of the run before the interruption."""
        self._before += seconds


@dataclass(kw_only=True)
class Tally:
    """Totals of the current epoch, stored in the checkpoint.

    Attributes:
        steps: number of finished steps.
        loss: sum over these steps.
        feature_std: of the last step.
        seconds: time of these steps, with the wait for views.
        waiting_seconds: time spent waiting for views.
    """

    steps: int = 0
    loss: float = 0.0
    feature_std: float = 0.0
    seconds: float = 0.0
    waiting_seconds: float = 0.0

    @property
    def waiting(self) -> float:
        """The share of the time spent waiting for views."""
        return self.waiting_seconds / max(self.seconds, 1e-9)


class Interruption:
    """Replace the handler of SIGINT and call it between steps.

    A second SIGINT ends the run immediately. Outside the main thread, where Python delivers no
    signals, this does nothing.
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
        """Whether SIGINT came and the last step is finished."""
        return self._is_asked and not self._is_in_step

    @contextmanager
    def step(self) -> Iterator[None]:
        """Delay SIGINT until the block ends."""
        self._is_in_step = True
        yield
        # Not in a `finally`: an error in the block leaves an unfinished step.
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
