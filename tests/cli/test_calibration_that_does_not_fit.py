"""A calibration that is stale, damaged or too new is never used, and every command warns of it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import histo_index
from histo_index.errors import IndexFormatError
from histo_index.indexer.format.manifest import CALIBRATION_NAME, read_manifest
from histo_index.indexer.format.signed_json import seal
from histo_index.search.bootstrap import Estimate
from histo_index.search.calibration.calibration import CALIBRATION_VERSION, Calibration
from tests.cli.conftest import Run, Workshop
from tests.cli.test_pairs_and_search import A, B

REMEDY = "run `histo-index calibrate` again, or `histo-index calibrate --clear`"


def write_calibration(
    index: Path, *, fingerprint: str = "", distance: str = "", version: int = CALIBRATION_VERSION
) -> None:
    """Write a calibration with a threshold of 0.5 that fits the index, but for what is given."""
    manifest = read_manifest(index)
    found = Calibration(
        fingerprint=fingerprint or manifest.fingerprint,
        distance=distance or manifest.distance_name,
        threshold=Estimate.of(0.5, 0.4, 0.6),
        curve=None,
        objective="accuracy",
        prior=0.5,
        accuracy=Estimate(value=None, low=None, high=None),
        answers_unsure=False,
        far_distance=4.0,
        is_unlabelled=True,
        source="some pairs",
        unit="tile",
        pairs=10,
        same=0,
        tiles=20,
        units=20,
        unused=0,
        warnings=[],
        histogram=None,
        contents=None,
        classes=None,
        created="2026-01-01T00:00:00+00:00",
        libraries={},
    )
    document = seal("histo-index calibration", found.as_dict(), version=version)
    (index / CALIBRATION_NAME).write_bytes(document)


def make_stale_by_distance(index: Path) -> str:
    write_calibration(index, distance="diffused 0537")
    return "stale: fitted to distances diffused 0537 but this index compares by plain"


def make_stale_by_encoder(index: Path) -> str:
    write_calibration(index, fingerprint="0" * 32)
    return f"stale: fitted to encoder {'0' * 32} but this index was built by"


def make_damaged(index: Path) -> str:
    write_calibration(index)
    path = index / CALIBRATION_NAME
    path.write_bytes(path.read_bytes().replace(b"0.5", b"0.6"))
    return "damaged: checksum "


def make_too_new(index: Path) -> str:
    write_calibration(index, version=CALIBRATION_VERSION + 1)
    return "has index format 2, this release reads up to 1; upgrade histo-index"


def make_unreadable(index: Path) -> str:
    (index / CALIBRATION_NAME).mkdir()
    return "cannot be read (Is a directory)"


Make = Callable[[Path], str]
STALE = (make_stale_by_distance, make_stale_by_encoder)
BROKEN = (make_damaged, make_too_new, make_unreadable)
Command = tuple[str, ...]
# Those with a threshold of their own, and a search for neighbours, need no calibration.
NEEDLESS: tuple[Command, ...] = (
    ("pair", A, B, "--threshold", "1"),
    ("pairs", "pairs.csv", "--threshold", "1"),
    ("search", A, "-k", "2"),
)
RESTING: tuple[Command, ...] = (
    ("pair", A, B),
    ("pairs", "pairs.csv"),
    ("evaluate", "--labels", "label"),
)


def warnings(log: pytest.LogCaptureFixture) -> list[str]:
    """Take the lines about the calibration that a command logged, which the next forgets."""
    lines = [record.getMessage() for record in log.records if record.levelname == "WARNING"]
    log.clear()
    return [line for line in lines if CALIBRATION_NAME in line]


@pytest.mark.parametrize("make", STALE)
def test_a_stale_calibration_is_ignored_with_one_warning(
    workshop: Workshop, run: Run, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    Path("pairs.csv").write_text(f"{A},{B}\n{B},{A}\n")
    for command in (*RESTING[:2], *NEEDLESS):
        (workshop.index / CALIBRATION_NAME).unlink(missing_ok=True)
        expected = run(*command)
        problem = make(workshop.index)
        ran = run(*command)
        assert (ran.code, ran.out) == (expected.code, expected.out), command
        (line,) = warnings(caplog)
        assert line.startswith(f"tiles.hx/{CALIBRATION_NAME}: {problem}")
        assert line.endswith(f"; {REMEDY}; it is not used")


@pytest.mark.parametrize("make", BROKEN)
def test_a_damaged_calibration_stops_only_commands_that_need_it(
    workshop: Workshop, run: Run, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    Path("pairs.csv").write_text(f"{A},{B}\n")
    expected = {command: run(*command) for command in NEEDLESS}
    problem = make(workshop.index)
    for command in NEEDLESS:
        ran = run(*command)
        assert (ran.code, ran.out) == (expected[command].code, expected[command].out), command
        (line,) = warnings(caplog)
        assert problem in line
        assert line.endswith("; it is not used")
    for command in (*RESTING, ("pair", A, B, "--threshold", "1", "--unsure")):
        ran = run(*command)
        assert (ran.code, ran.out) == (1, ""), command
        assert warnings(caplog) == []
        line = ran.err.splitlines()[-1]
        assert line.startswith(f"histo-index: error: tiles.hx/{CALIBRATION_NAME}")
        assert problem in line


def test_a_report_warns_once_too(
    workshop: Workshop, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    for make in (make_stale_by_distance, make_damaged):
        make(workshop.index)
        for command in (("pair", A, B, "--threshold", "1"), ("search", A)):
            ran = run(*command, "--report", "report.html", "--overwrite")
            assert ran.code == 0
            assert len(warnings(caplog)) == 1


@pytest.mark.parametrize("make", [*STALE, *BROKEN])
def test_info_describes_an_unusable_calibration(workshop: Workshop, run: Run, make: Make) -> None:
    problem = make(workshop.index)
    ran = run("info", "--verify", "--json")
    assert ran.code == 0
    assert json.loads(ran.out)["calibration"].startswith(problem)
    assert f"calibration    {problem}" in run("info").out


def test_python_ignores_a_stale_calibration_and_refuses_a_damaged_one(
    workshop: Workshop,
) -> None:
    make_stale_by_distance(workshop.index)
    index = histo_index.open(workshop.index)
    assert index.calibration is None
    assert index.pair(A, B).threshold is None
    make_damaged(workshop.index)
    index = histo_index.open(workshop.index)
    for _ in range(2):
        assert index.pair(A, B, threshold=1.0).threshold == 1.0
        with pytest.raises(IndexFormatError, match="damaged"):
            index.pair(A, B)


@pytest.mark.parametrize("make", [write_calibration, *STALE, *BROKEN[:2]])
def test_clear_removes_any_calibration(
    workshop: Workshop, run: Run, make: Callable[[Path], object]
) -> None:
    make(workshop.index)
    ran = run("calibrate", "--clear")
    assert (ran.code, ran.out) == (0, "tiles.hx: calibration removed\n")
    assert not (workshop.index / CALIBRATION_NAME).exists()
    assert json.loads(run("info", "--json").out)["calibration"] == "none"
    assert (again := run("calibrate", "--clear")).code == 0
    assert again.out == "tiles.hx: no calibration to remove\n"
    assert json.loads(run("calibrate", "--clear", "--json").out) == {
        "index": "tiles.hx",
        "cleared": False,
    }


def test_clear_stands_alone(workshop: Workshop, run: Run) -> None:
    write_calibration(workshop.index)
    for options in (
        ("--pairs", "p.csv"), ("--labels", "label"), ("--unlabelled",), ("--unsure",),
        ("--objective", "accuracy"), ("--costs", "1", "2"), ("--group", "group"),
    ):  # fmt: skip
        ran = run("calibrate", "--clear", *options)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err == (
            f"histo-index: error: --clear excludes {options[0]}: leave out one of them\n"
        )
    assert (workshop.index / CALIBRATION_NAME).exists()


def test_clear_does_not_touch_a_folder_without_an_index(workshop: Workshop, run: Run) -> None:
    assert run("calibrate", "--clear", "-i", "tiles").code == 1
    assert not (workshop.tiles / "lock").exists()
