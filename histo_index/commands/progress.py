"""How a training run looks on a terminal, while it lasts and when it is done."""

import sys
import time
from typing import TYPE_CHECKING, Any, Final

from histo_index.wording import counted

if TYPE_CHECKING:
    from histo_index.encoder.training.config import TrainProgress
    from histo_index.encoder.training.train import TrainReport
    from histo_index.indexer.build_config import BuildProgress

# How often a log that is no terminal is told how far a run is.
_LOG_EVERY_S: Final = 30.0
_TERMINAL_EVERY_S: Final = 0.5


class TrainingLine:
    """Tells on stderr how far a training run is: one line that changes, or one now and then."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._every_s = _TERMINAL_EVERY_S if self._is_terminal else _LOG_EVERY_S
        self._told = time.monotonic()

    def __call__(self, state: "TrainProgress") -> None:
        """Take note of a step."""
        now = time.monotonic()
        if now - self._told < self._every_s:
            return
        self._told = now
        left = (state.steps - state.step) * state.batch / state.images_per_second
        line = (
            f"epoch {state.epoch} of {state.epochs}, step {state.step:,} of {state.steps:,}, "
            f"loss {state.loss:.3f}, {state.images_per_second:.1f} images/s, {_duration(left)} left"
        )
        # Clears what is left of a longer line before.
        print(f"\r{line}\x1b[K" if self._is_terminal else line, file=sys.stderr, flush=True,
              end="" if self._is_terminal else "\n")  # fmt: skip

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._is_terminal:
            print("\r\x1b[K", file=sys.stderr, end="")


def describe_training(report: "TrainReport") -> str:
    """Sum up a training run."""
    last = report.epochs[-1]
    share = 100 * report.monitoring_seconds / report.seconds
    lines = [
        f"{report.encoder}: {counted(len(report.epochs), 'epoch')} over "
        f"{counted(report.tiles, 'tile')} in "
        f"{_duration(report.seconds)} ({share:.0f} % of it monitoring), "
        f"fingerprint {report.fingerprint}",
        f"  loss       {last['loss']:.4f}, effective rank {last['effective_rank']:.1f}",
        f"  rejected   {counted(len(report.rejected), 'tile')}",
    ]
    if report.best_epoch is not None:
        best = report.epochs[report.best_epoch - 1]
        lines.append(
            f"  monitor    best epoch {report.best_epoch}, pair ROC-AUC {best['pair_auc']:.3f}, "
            f"kept in {report.encoder / 'best'}"
        )
    return "\n".join(lines)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


class ProgressLine:
    """Tells on stderr how far a build is: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._stage = ""
        self._started = self._told = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __call__(self, state: "BuildProgress") -> None:
        """Take note of progress."""
        if state.stage != self._stage:
            self._begin(state)
        if self._bar is not None:
            self._bar.update(self._task, completed=state.done, rate=self._rate(state))
        elif time.monotonic() - self._told >= _LOG_EVERY_S:
            self._told = time.monotonic()
            left = (state.total - state.done) / max(self._rate(state), 1e-9)
            line = f"{state.stage} {state.done:,} of {state.total:,}"
            print(f"{line}, {self._rate(state):.1f} images/s, {left:.0f} s left", file=sys.stderr)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _begin(self, state: "BuildProgress") -> None:
        self.close()
        self._stage = state.stage
        self._started = self._told = time.monotonic()
        if self._is_terminal and state.total:
            from rich import progress
            from rich.console import Console

            self._bar = progress.Progress(
                progress.TextColumn("{task.description:>10}"),
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TextColumn("{task.fields[rate]:.0f} images/s"),
                progress.TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task(state.stage, total=state.total, rate=0.0)
            self._bar.start()

    def _rate(self, state: "BuildProgress") -> float:
        return state.done / max(time.monotonic() - self._started, 1e-9)
