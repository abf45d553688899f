"""Measure a run over all its interruptions: its wall time, and the epoch at work."""

import time
from collections.abc import Callable
from dataclasses import dataclass


class Stopwatch:
    """The wall time of a run, over all interruptions."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start at 0 seconds.

        Args:
            clock: returns seconds since any fixed moment.
        """
        self._clock, self._started, self._before = clock, clock(), 0.0

    @property
    def seconds(self) -> float:
        """Seconds worked on the run so far."""
        return self._before + self._clock() - self._started

    def add_earlier(self, seconds: float) -> None:
        """Add the seconds of the run before it was interrupted."""
        self._before += seconds


@dataclass(kw_only=True)
class Tally:
    """What the figures of the epoch at work are computed from; a checkpoint keeps it.

    Attributes:
        steps: done in this epoch.
        loss: sum over these steps.
        feature_std: of the last step.
        seconds: spent on these steps, the waiting for views included.
        waiting_seconds: spent without views to learn from.
    """

    steps: int = 0
    loss: float = 0.0
    feature_std: float = 0.0
    seconds: float = 0.0
    waiting_seconds: float = 0.0

    @property
    def waiting(self) -> float:
        """The share of the time without views to learn from."""
        return self.waiting_seconds / max(self.seconds, 1e-9)
