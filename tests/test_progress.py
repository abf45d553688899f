"""Every long command reports how far it has come, and the command line shows it."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import histo_index
from histo_index import cli
from histo_index.api.info import index_facts
from histo_index.commands.progress import BuildLine, showing_training
from histo_index.progress import Progress, listening, report, track
from histo_index.search.bootstrap import bands
from tests.vectors import build_numbered, unit_vectors

N = 300


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    names = [f"{n:03}.png" for n in range(N)]
    return build_numbered(tmp_path_factory.mktemp("progress"), unit_vectors(N, 16), names)[0]


def resample() -> None:
    groups = np.arange(40) % 8
    bands(lambda weights: weights.mean(), groups, rounds=50)


@pytest.mark.parametrize(
    ("work", "stage", "last"),
    [
        (lambda folder: histo_index.open(folder).outliers(), "searching", (0, N, "images")),
        (
            lambda folder: histo_index.open(folder).close_pairs(0.1, folder.with_name("x.parquet")),
            "comparing",
            (0, N, "tiles"),
        ),
        (
            lambda folder: index_facts(folder, verify=True),
            "verifying",
            (0, 0, "MB"),
        ),
        (histo_index.reindex, "writing", (1, 1, "shards")),
        (
            lambda folder: histo_index.reindex(folder, structure="IVF4,Flat"),
            "indexing",
            (2, 2, "blocks"),
        ),
        (lambda folder: resample(), "resampling", (50, 50, "drawings")),
    ],
    ids=["outliers", "close-pairs", "verify", "reindex", "ann", "bootstrap"],
)
def test_long_work_reports_how_far_it_has_come(
    folder: Path, work: Callable[[Path], object], stage: str, last: tuple[int, int, str]
) -> None:
    states: list[Progress] = []
    with listening(states.append):
        work(folder)
    own = [state for state in states if state.stage == stage]
    assert own
    assert (own[-1].done, own[-1].total, own[-1].unit) == last


def test_every_command_shows_what_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def long_command() -> None:
        report("reading", 0, 10)
        clock[0] += 60
        report("counting", 0, 10)  # nothing is known of its speed
        clock[0] += 10
        report("counting", 4, 10)

    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    monkeypatch.setattr(cli, "app", long_command)
    cli.main()
    shown = capsys.readouterr().err
    assert shown == "counting 4 of 10, 0.4 tiles/s, 15 s left\n"


def test_a_stage_that_starts_again_counts_its_own_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    line = BuildLine()
    for _ in range(2):
        line(Progress(stage="resampling", done=0, total=10, unit="drawings"))
        clock[0] += 20
        line(Progress(stage="resampling", done=5, total=10, unit="drawings"))
    assert capsys.readouterr().err == "resampling 5 of 10, 0.2 drawings/s, 20 s left\n"


def test_a_bar_shows_a_slow_rate_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    for name, value in (("TERM", "xterm"), ("COLUMNS", "120"), ("NO_COLOR", "1")):
        monkeypatch.setenv(name, value)
    line = BuildLine()
    line(Progress(stage="laying out", done=0, total=10, unit="steps"))
    clock[0] += 20
    line(Progress(stage="laying out", done=5, total=10, unit="steps"))
    line.close()
    assert "0.2 steps/s" in capsys.readouterr().err


def test_a_training_shows_its_own_line_alone() -> None:
    states: list[Progress] = []
    with listening(states.append), showing_training():
        list(track(range(3), "resampling"))
    assert states == []
