"""An interrupted run goes on where it was, and ends as if nothing had interrupted it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from histo_index.encoder.training.batches.material import Material, Part
from histo_index.encoder.training.byol import Byol
from histo_index.encoder.training.checkpoint import Interruption, Stopwatch, load_checkpoint
from histo_index.encoder.training.config import TrainConfig, TrainProgress
from histo_index.encoder.training.distributed import Team
from histo_index.encoder.training.loop import Run
from histo_index.encoder.training.monitor import Monitor
from histo_index.encoder.training.train import TrainReport, train
from histo_index.encoder.training.views import Views
from histo_index.errors import IndexFormatError, InputError, MismatchError
from histo_index.search.evaluation.training_monitor import MonitorMetrics, MonitorThresholds
from tests.conftest import Tries
from tests.encoder.training.conftest import TINY, config, weights

CHILD = Path(__file__).with_name("child.py")
# Of 8 steps; 4 is the end of an epoch. What was killed at 6 has the figures of one behind it.
KILLED_AT = (4, 6)


@pytest.fixture(autouse=True)
def _default_handler() -> Iterator[None]:
    """Let SIGINT raise KeyboardInterrupt; the command line sets another handler."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.fixture(scope="module")
def killed(tiles: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Runs that were killed, by their step."""
    outputs = {step: tmp_path_factory.mktemp("killed") / str(step) for step in KILLED_AT}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(CHILD), os.pathsep.join(map(str, outputs.values()))]
    with subprocess.Popen(
        [*command, *map(str, tiles)], stdout=subprocess.PIPE, env=environment, text=True
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            output, pid, step = line.split()
            if Path(output) == outputs.get(int(step)):
                os.kill(int(pid), signal.SIGKILL)
    assert child.returncode == 0
    return outputs


@pytest.mark.parametrize("steps", KILLED_AT)
def test_a_killed_run_ends_with_the_same_weights_bit_for_bit(
    steps: int, tiles: list[Path], finished: TrainReport, killed: dict[int, Path]
) -> None:
    output = killed[steps]
    with pytest.raises(InputError, match="holds an interrupted run; pass --resume"):
        train(tiles, config(output))
    seen: list[int] = []
    report = train(
        tiles, config(output), resume=True, on_step=lambda state: seen.append(state.step)
    )
    assert seen[0] >= steps
    require_same(report, finished)
    assert not (output / "checkpoint.pt").exists()


def require_same(report: TrainReport, finished: TrainReport) -> None:
    assert weights(report.encoder) == weights(finished.encoder)
    names = ("epoch", "loss", "feature_std", "learning_rate", "effective_rank")
    assert [[epoch[name] for name in names] for epoch in report.epochs] == [
        [epoch[name] for name in names] for epoch in finished.epochs
    ]


def test_ctrl_c_saves_the_step_and_the_run_resumes_with_other_workers(
    tiles: list[Path],
    finished: TrainReport,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tries: Tries,
) -> None:
    """With each push the workers of the resumed run are not started; test_views has their views."""
    exact = Byol.forward

    def interrupted(self: Byol, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        calls.append(1)
        if len(calls) == 6:
            signal.raise_signal(signal.SIGINT)
        return exact(self, images)

    calls: list[int] = []
    monkeypatch.setattr(Byol, "forward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(tiles, config(tmp_path / "out"))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    monkeypatch.undo()
    assert load_checkpoint(tmp_path / "out")["step"] == 6
    other = config(tmp_path / "out", workers=1)
    Run(other, Material(paths=tiles), Team.join("cpu"), Stopwatch()).resume()
    report = train(tiles, replace(other, workers=tries(0, 1)), resume=True)
    require_same(report, finished)


def test_ctrl_c_between_steps_saves_at_once(
    tiles: list[Path], finished: TrainReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = Views.__getitem__

    def interrupted(self: Views, address: tuple[int, int]) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 10:  # of four tiles each batch: in the third
            signal.raise_signal(signal.SIGINT)
        return exact(self, address)

    calls: list[int] = []
    monkeypatch.setattr(Views, "__getitem__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(tiles, config(tmp_path / "out"))
    assert (len(calls), load_checkpoint(tmp_path / "out")["step"]) == (10, 2)
    assert not (tmp_path / "out" / "config.json").exists()


def test_ctrl_c_while_an_epoch_is_measured_repeats_no_step(
    tiles: list[Path], finished: TrainReport, tmp_path: Path
) -> None:
    def measure(embeddings: object) -> tuple[MonitorMetrics, MonitorThresholds]:
        calls.append(1)
        # Saved before it is measured, whatever interrupts that.
        assert load_checkpoint(tmp_path / "out")["step"] == 4 * min(len(calls), 2)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        return MonitorMetrics(pair_auc=float(len(calls))), MonitorThresholds()

    calls: list[int] = []
    monitor = Monitor(
        name="labels.csv", images=[np.zeros((48, 48, 3), np.uint8)] * 2, measure=measure
    )
    with pytest.raises(KeyboardInterrupt):
        train(tiles, config(tmp_path / "out"), monitor=monitor)
    seen: list[TrainProgress] = []
    report = train(
        tiles, config(tmp_path / "out"), monitor=monitor, resume=True, on_step=seen.append
    )
    assert (seen, [epoch["pair_auc"] for epoch in report.epochs]) == ([], [1.0, 3.0])
    require_same(report, finished)


def test_a_second_ctrl_c_ends_a_step_and_saves_nothing() -> None:
    def take_half_a_step() -> None:
        with interruption.step():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            pytest.fail("not ended")

    with Interruption() as interruption, pytest.raises(KeyboardInterrupt):
        take_half_a_step()
    assert interruption.can_save is False


class ClockedRun(Run):
    """A run whose views take 3 seconds and whose steps take 9."""

    def __init__(self, given: TrainConfig, tiles: list[Path]) -> None:
        self.now = 100.0
        super().__init__(
            given, Material(paths=tiles), Team.join("cpu"), Stopwatch(lambda: self.now)
        )
        given.output.mkdir(exist_ok=True)

    def batches(self) -> Iterator[list[Part]]:
        for batch in super().batches():
            self.now += 3.0
            yield batch

    def take_step(self, batch: Sequence[Part]) -> tuple[float, float]:
        self.now += 9.0
        return super().take_step(batch)

    def train_clocked(self, stop_after: int = 100) -> dict[str, object]:
        def report(state: TrainProgress) -> None:
            self.now += 1.0  # belongs to no step
            if state.step > stop_after:
                raise KeyboardInterrupt

        with Interruption() as interruption:
            return self.train_epoch(report, interruption)


def test_figures_of_an_interrupted_epoch_cover_all_its_steps(
    tiles: list[Path], finished: TrainReport, tmp_path: Path
) -> None:
    given = config(tmp_path / "out", checkpoint_every_s=0.0)
    with pytest.raises(KeyboardInterrupt):
        ClockedRun(given, tiles).train_clocked(stop_after=1)
    clocked = ClockedRun(given, tiles)
    clocked.resume()
    figures = clocked.train_clocked()
    assert clocked.step == 4
    assert figures["loss"] == finished.epochs[0]["loss"]
    assert (figures["training_seconds"], figures["waiting"]) == (48.0, 0.25)
    assert figures["images_per_second"] == 0.33
    assert clocked.stopwatch.seconds == 4 * 13.0


def test_a_checkpoint_is_written_whenever_the_interval_has_passed(
    tiles: list[Path], tmp_path: Path
) -> None:
    given = config(tmp_path / "out", checkpoint_every_s=20.0)
    clocked = ClockedRun(given, tiles)
    with pytest.raises(KeyboardInterrupt):
        clocked.train_clocked(stop_after=2)
    # 13 seconds after step 1, 26 after step 2.
    assert load_checkpoint(given.output)["step"] == 2
    assert config(tmp_path).checkpoint_every_s == 240.0


def interrupt_after(step: int, tiles: list[Path], given: TrainConfig) -> None:
    def stop(state: TrainProgress) -> None:
        if state.step > step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tiles, given, on_step=stop)


def test_resuming_another_run_is_refused(tiles: list[Path], tmp_path: Path) -> None:
    interrupt_after(1, tiles, config(tmp_path / "out", checkpoint_every_s=0.0))
    with pytest.raises(MismatchError, match="made with other recipe, seed"):
        train(
            tiles,
            config(tmp_path / "out", replace(TINY, learning_rate=1e-2), seed=5),
            resume=True,
        )
    path = tmp_path / "out" / "checkpoint.pt"
    state = torch.load(path, weights_only=True)
    state["byol"]["online.trunk.network.layer4.0.conv1.weight"] = torch.zeros(512, 256, 3, 3)
    torch.save(state, path)
    with pytest.raises(MismatchError, match="out: started by a release with another network"):
        train(tiles, config(tmp_path / "out"), resume=True)


def test_resuming_where_no_checkpoint_is_starts_a_run(
    tiles: list[Path], finished: TrainReport, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / ".checkpoint.pt.4711").write_bytes(b"killed half-written")
    caplog.set_level("INFO")
    report = train(tiles, config(output), resume=True)
    assert caplog.messages == [
        f"{output}: no checkpoint to go on from; the run starts from the beginning"
    ]
    require_same(report, finished)
    assert not list(output.glob(".*"))


def test_resuming_in_a_folder_of_other_things_is_refused(
    tiles: list[Path], finished: TrainReport
) -> None:
    with pytest.raises(InputError, match="exists already and holds no checkpoint to go on from"):
        train(tiles, config(finished.encoder), resume=True)


def test_a_damaged_checkpoint_is_refused(tiles: list[Path], tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"no checkpoint")
    with pytest.raises(IndexFormatError, match=r"checkpoint\.pt: cannot be read"):
        train(tiles, config(tmp_path), resume=True)


class Trap:
    """A pickle that leaves a mark if it is run."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def test_code_in_a_checkpoint_is_not_run(tiles: list[Path], tmp_path: Path) -> None:
    torch.save({"byol": Trap(tmp_path / "marker")}, tmp_path / "checkpoint.pt")
    with pytest.raises(IndexFormatError, match=r"cannot be read \(UnpicklingError\)"):
        train(tiles, config(tmp_path), resume=True)
    assert not (tmp_path / "marker").exists()
