"""A hostile file of features costs itself: no code runs, nothing outside it is read."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import psutil  # type: ignore[import-untyped]
import pytest

import histo_index
from histo_index.api.features.import_features import import_features
from histo_index.api.features.options import FeatureOptions
from histo_index.features.reading.process import ReadLimits, run_jobs
from tests.features.hostile import write_hostile, write_inflating
from tests.features.writers import draw_slide, write_slide2vec, write_trident
from tests.promises.conftest import Tell, Tries, processes_of

SCALE = FeatureOptions(slide_mpp={"good": 0.25}, distance="plain")


@pytest.fixture(autouse=True)
def _nothing_is_left_running() -> Iterator[None]:
    yield
    assert processes_of("features.reading") == []


def test_each_hostile_file_is_refused_and_the_rest_is_imported(tmp_path: Path) -> None:
    marker = tmp_path / "code_was_run"
    expected = write_hostile(tmp_path / "hostile", marker)
    good = write_trident(tmp_path, draw_slide("good", 30, 4))
    report = import_features([*expected, good], tmp_path / "x.hx", SCALE)
    assert report.tiles == 30
    assert not marker.exists()
    found = dict(reason.split(": ", 1) for reason in report.reasons)
    assert set(found) == {str(path) for path in expected}
    assert {
        path.name: found[str(path)] for path, why in expected.items() if why not in found[str(path)]
    } == {}
    assert not any("\n" in reason for reason in report.reasons)
    assert len(histo_index.open(tmp_path / "x.hx")) == 30


def test_a_chunk_that_unpacks_without_end_costs_its_file(tmp_path: Path) -> None:
    paths = [
        write_inflating(tmp_path / "b.h5", 200),
        write_trident(tmp_path, draw_slide("s", 3, 4)),
    ]
    jobs = [{"path": str(path), "part": "", "places": None} for path in paths]
    frames = list(run_jobs("stream", jobs, ReadLimits(spare_bytes=2**26)))
    ends = {frame.job: frame for frame in frames if frame.kind in ("end", "error")}
    assert (ends[0].kind, ends[1].kind) == ("error", "end")
    assert str(paths[0]) in ends[0].values["message"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_child_that_dies_or_hangs_costs_one_file(tmp_path: Path, number: int) -> None:
    jobs = [{"path": str(write_trident(tmp_path, draw_slide(n, 3, 4)))} for n in ("a", "b")]
    stopped: list[psutil.Process] = []
    now = [0.0]

    def clock() -> float:
        """Let time pass while there is a process that hangs."""
        with suppress(psutil.NoSuchProcess):
            now[0] += 11 * any(process.status() == psutil.STATUS_STOPPED for process in stopped)
        return now[0]

    frames = run_jobs("describe", jobs, ReadLimits(wait_s=10.0), clock=clock)
    assert next(frames).kind == "begin"
    (child,) = processes_of("features.reading")
    os.kill(child.pid, number)
    stopped.append(child)
    rest = list(frames)
    # Frames that were on their way count.
    failed = [frame for frame in rest if frame.kind == "error"]
    assert len(failed) <= 1
    for frame in failed:
        assert "the process that read it died (killed by signal 9: Killed)" in str(frame.values)
    ended = {frame.job for frame in rest if frame.kind in ("end", "error")}
    assert ended == {0, 1}


def test_damaged_files_are_refused_or_read_as_they_were(
    tmp_path: Path, tries: Tries, tell: Tell
) -> None:
    slide = draw_slide("s", 40, 16)
    whole = [write_trident(tmp_path, slide), write_slide2vec(tmp_path, slide)]
    random, paths = Random(3), []
    for number in range(tries(20, 400)):
        source = whole[number % 2]
        data = bytearray(source.read_bytes())
        for _ in range(1 + number % 3):
            data[random.randrange(len(data))] ^= 1 << random.randrange(8)
        path = tmp_path / "damaged" / f"{number}{source.suffix}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        paths.append(path)
    jobs = [{"path": str(path), "part": "", "places": None} for path in paths]
    frames = list(run_jobs("stream", jobs))
    ends = [frame for frame in frames if frame.kind in ("end", "error")]
    assert [frame.job for frame in ends] == list(range(len(paths)))
    refused = sum(frame.kind == "error" for frame in ends)
    died = sum("died" in str(frame.values) for frame in ends)
    tell(f"{len(paths)} damaged files of features", f"{refused} refused, {died} ended their child")
