"""Progress of long work, on stderr."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from histo_index.commands.output import duration_text
from histo_index.progress import Progress, listening, report

if TYPE_CHECKING:
    from histo_index.encoder.training.config import TrainProgress
    from histo_index.indexer.build_config import BuildProgress

_LOG_EVERY_S: Final = 30.0
_TERMINAL_EVERY_S: Final = 0.5


class BuildLine:
    """Show the progress of stages: a bar on a terminal, a line every 30 s elsewhere."""

    def __init__(self) -> None:
        self._line = _StatusLine()
        self._stage = ""
        self._started_s = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __call__(self, state: Progress) -> None:
        """Show the state if an update is due."""
        if state.stage != self._stage or not state.done:
            self._begin(state)
        per_s = state.done / max(time.monotonic() - self._started_s, 1e-9)
        if self._bar is not None:
            self._bar.update(self._task, completed=state.done, rate=per_s)
        elif state.total and state.done and not self._line.is_terminal and self._line.is_due():
            left_s = (state.total - state.done) / max(per_s, 1e-9)
            self._line.show(
                f"{state.stage} {state.done:,} of {state.total:,}, {per_s:.1f} {state.unit}/s, "
                f"{duration_text(left_s)} left"
            )

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _begin(self, state: Progress) -> None:
        self.close()
        self._stage = state.stage
        self._started_s = time.monotonic()
        if self._line.is_terminal and state.total:
            from rich import progress
            from rich.console import Console

            self._bar = progress.Progress(
                progress.TextColumn("{task.description:>10}"),
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TextColumn(f"{{task.fields[rate]:.1f}} {state.unit}/s"),
                progress.TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task(state.stage, total=state.total, rate=0.0)
            self._bar.start()


def report_build(state: "BuildProgress") -> None:
    """Report the state of a build like any other progress."""
    report(state.stage, state.done, state.total, unit=state.unit)


@contextmanager
def showing_progress() -> Iterator[None]:
    """Show the progress of whatever is tracked inside the block, as `BuildLine` does."""
    line = BuildLine()
    try:
        with listening(line):
            yield
    finally:
        line.close()


class TrainingLine:
    """Show the progress of training: one line that changes, or one every 30 s in a log."""

    def __init__(self) -> None:
        self._line = _StatusLine()

    def __call__(self, state: "TrainProgress") -> None:
        """Show the state if an update is due."""
        if self._line.is_due():
            left_s = (state.steps - state.step) * state.batch / state.images_per_second
            self._line.show(
                f"epoch {state.epoch} of {state.epochs}, "
                f"step {state.step:,} of {state.steps:,}, loss {state.loss:.3f}, "
                f"{state.images_per_second:.1f} images/s, {duration_text(left_s)} left"
            )

    def close(self) -> None:
        """Clear the line on a terminal."""
        self._line.clear()


@contextmanager
def showing_training() -> Iterator[TrainingLine]:
    """Show the line of a training, and no other progress inside the block."""
    line = TrainingLine()
    try:
        with listening(lambda state: None):
            yield line
    finally:
        line.close()


class _StatusLine:
    """A line of progress, limited in how often it is printed."""

    def __init__(self) -> None:
        self.is_terminal = sys.stderr.isatty()
        self._every_s = _TERMINAL_EVERY_S if self.is_terminal else _LOG_EVERY_S
        self._shown_s = time.monotonic()

    def is_due(self) -> bool:
        """Check whether the next line may be shown; if so, restart the wait."""
        now_s = time.monotonic()
        if now_s - self._shown_s < self._every_s:
            return False
        self._shown_s = now_s
        return True

    def show(self, line: str) -> None:
        if self.is_terminal:
            # \x1b[K clears the rest of a longer line.
            print(f"\r{line}\x1b[K", end="", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self.is_terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
