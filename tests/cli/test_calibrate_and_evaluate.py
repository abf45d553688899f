"""`calibrate` and `evaluate` as a user types them, and what later answers make of them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from histo_index.api import index as api
from histo_index.api.build import build
from histo_index.demo.tiles import write_tiles
from histo_index.encoder.create import init_encoder
from tests.cli.conftest import Run, Workshop
from tests.copies import copy_built

PAIR = ("slide-01/0001.png", "slide-02/0001.png")


def write_pairs(workshop: Workshop) -> None:
    """Label every pair of tiles of two slides, as the manifest has their categories."""
    index = api.open(workshop.index)
    rows = index.opened.rows.select(["path", "label", "group"]).to_pylist()
    lines = [
        f"{a['path']},{b['path']},{int(a['label'] == b['label'])}"
        for number, a in enumerate(rows)
        for b in rows[:number]
        if a["group"] != b["group"]
    ]
    (workshop.folder / "labelled.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """A workshop of 32 tiles of four slides, calibrated."""
    made = Workshop(folder=tmp_path_factory.mktemp("calibrated"))
    labels = write_tiles(made.tiles, tiles_per_category=4, slides=4, size_px=64)
    init_encoder(made.encoder, arch="resnet18", seed=0)
    build(made.tiles, made.index, encoder=made.encoder, manifest=labels)
    write_pairs(made)
    api.open(made.index).calibrate(made.folder / "labelled.csv")
    return made


@pytest.fixture
def calibrated(finished: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    """A copy of it to work in, as the working directory."""
    copy_built(finished.folder, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HISTO_INDEX", raising=False)
    return Workshop(folder=tmp_path)


@pytest.fixture
def workshop(calibrated: Workshop) -> Workshop:
    """The same without its calibration."""
    (calibrated.index / "calibration.json").unlink()
    return calibrated


@pytest.fixture
def stored(finished: Workshop) -> bytes:
    """The bytes of the calibration."""
    return (finished.index / "calibration.json").read_bytes()


def test_calibrate_prints_its_fit_and_later_answers_use_it(workshop: Workshop, run: Run) -> None:
    labelled = workshop.folder / "labelled.csv"
    before = run("pair", *PAIR, "-i", workshop.index)
    assert before.out.startswith("unsure")
    # As many same as different: of what is rare, accuracy is best where nothing is called same.
    done = run("calibrate", "--pairs", labelled, "--prior", "0.5", "-i", workshop.index)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].startswith(f"{workshop.index}: calibrated for accuracy on ")
    assert lines[1].startswith("  threshold  0.")
    assert lines[2].startswith("  accuracy   0.")
    after = run("pair", *PAIR, "-i", workshop.index, "--json")
    answer = json.loads(after.out)
    assert answer["is_calibrated"]
    assert answer["threshold_from"].endswith("labelled.csv")
    assert answer["prior"] == 0.5
    shown = run("pair", *PAIR, "-i", workshop.index).out.splitlines()[1]
    assert shown.endswith("), if 50 % of pairs are same")
    assert (
        0 <= answer["probability_low"] <= answer["probability"] <= answer["probability_high"] <= 1
    )


def test_pairs_and_search_print_probabilities(calibrated: Workshop, run: Run) -> None:
    labelled = calibrated.folder / "some.csv"
    labelled.write_text(f"{PAIR[0]},{PAIR[1]}\n{PAIR[0]},none.png\n")
    done = run("pairs", labelled, "-i", calibrated.index)
    header, first, second = done.out.splitlines()
    assert header.split(",")[4:8] == [
        "verdict", "probability", "probability_low", "probability_high"
    ]  # fmt: skip
    assert first.split(",")[4] in ("same", "different")
    assert 0 < float(first.split(",")[5]) < 1
    assert second.split(",")[4:8] == ["", "", "", ""]
    found = json.loads(run("search", PAIR[0], "-k", "2", "-i", calibrated.index, "--json").out)
    assert [row["verdict"] in ("same", "different") for row in found] == [True, True]
    # That of random pairs is not that of neighbours.
    assert ["probability" in row for row in found] == [False, False]


def test_unsure_is_a_verdict_on_request(calibrated: Workshop, run: Run) -> None:
    rows = api.open(calibrated.index).pairs("labelled.csv").table.to_pylist()
    row = min(rows, key=lambda row: abs(row["distance"] - row["threshold"]))
    pair = row["image_a"], row["image_b"]
    done = run("pair", *pair, "-i", calibrated.index, "--unsure", "--exit-status")
    assert done.code == 11, done.out
    assert "unsure     too near the threshold for the calibration to tell" in done.out
    assert run("pair", *pair, "-i", calibrated.index, "--exit-status").code in (0, 10)
    listed = run("pairs", "labelled.csv", "-i", calibrated.index, "--unsure", "-o", "out.csv")
    count = Path("out.csv").read_text().count(",unsure,")
    assert f" same, {count} unsure; " in listed.out
    assert count > 0


def test_few_pairs_are_a_warning(
    calibrated: Workshop, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    lines = Path("labelled.csv").read_text().splitlines()
    same = [line for line in lines if line.endswith(",1")]
    other = [line for line in lines if line.endswith(",0")]
    some = [*same[:: len(same) // 12][:12], *other[:: len(other) // 12][:12]]
    Path("few.csv").write_text("\n".join([*some, f"{PAIR[0]},none.png,1"]))
    done = run("calibrate", "--pairs", "few.csv", "-i", calibrated.index)
    assert done.code == 3, done.err
    doubt = "the accuracy is uncertain"
    assert f"  warning    {doubt}" in done.out
    assert doubt not in caplog.text
    assert "few.csv pair 25: none.png is not in the index" in caplog.text


def test_unsure_without_a_calibration_is_one_line(workshop: Workshop, run: Run) -> None:
    done = run("pair", *PAIR, "-i", workshop.index, "--unsure")
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines()[-1] == (
        "histo-index: error: no calibration, so no pair can be unsure: run `histo-index calibrate` "
        "first, or leave out --unsure"
    )


def test_a_calibration_of_another_encoder_is_ignored_with_a_warning(
    workshop: Workshop, stored: bytes, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    other = workshop.folder / "other.hx"
    run("encoder", "init", "-o", "other", "--arch", "resnet18", "--seed", "5")
    run("build", workshop.tiles, "-o", other, "--encoder", "other")
    (other / "calibration.json").write_bytes(stored)
    done = run("pair", *PAIR, "-i", other)
    assert done.code == 0
    assert done.out.startswith("unsure")
    assert "other.hx/calibration.json: stale: fitted to encoder" in caplog.messages[-1]
    assert caplog.messages[-1].endswith("it is not used")


def test_a_rebuild_keeps_the_calibration(calibrated: Workshop, stored: bytes, run: Run) -> None:
    (calibrated.tiles / "slide-01" / "0001.png").unlink()
    # Its manifest, which is read again, still lists the tile.
    assert run("build", calibrated.tiles, "-o", calibrated.index).code == 3
    assert (calibrated.index / "calibration.json").read_bytes() == stored


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "0 columns and no header; expected `a.png,b.png[,label]`"),
        ("slide-01/0001.png,slide-02/0001.png\n", "no labels in it; expected rows `a.png,b.png,1`"),
        ("slide-01/0001.png,slide-02/0001.png,1\n", "same pairs only, 1 of them"),
        ("a,b,1\nc,d,0\n", "not one pair can be used; the first: bad.csv pair 1: a is not in the"),
    ],
)
def test_bad_pairs_are_one_line_and_leave_the_old_calibration(
    calibrated: Workshop, stored: bytes, run: Run, text: str, message: str
) -> None:
    Path("bad.csv").write_text(text)
    done = run("calibrate", "--pairs", "bad.csv", "-i", calibrated.index)
    (line,) = [line for line in done.err.splitlines() if "untrained" not in line]
    assert done.code == 2
    assert message in line
    assert (calibrated.index / "calibration.json").read_bytes() == stored


def test_an_unlabelled_threshold_is_marked_everywhere(workshop: Workshop, run: Run) -> None:
    done = run("calibrate", "--unlabelled", "-i", workshop.index)
    assert done.code == 0, done.err
    assert "estimated without labels (less reliable)" in done.out
    assert "unknown without labels" in done.out
    answer = run("pair", *PAIR, "-i", workshop.index)
    assert "estimated without labels (less reliable)" in answer.out
    refused = run("calibrate", "--unlabelled", "--labels", "label", "-i", workshop.index)
    assert refused.code == 2
    assert "without labels there is nothing to choose by" in refused.err


def test_evaluate_first_compares_with_the_baselines(calibrated: Workshop, run: Run) -> None:
    done = run("evaluate", "-i", calibrated.index)
    assert done.code == 0, done.err
    assert done.out.startswith("The encoder is untrained")
    for word in ("colour histogram", "random weights", "majority", "roc auc", "map@10", "macro"):
        assert word in done.out
    assert "tiles that the calibration was fitted on" in done.out
    document = json.loads(run("evaluate", "-i", calibrated.index, "--json").out)
    assert document["headline"] == done.out.splitlines()[0]
    assert [baseline["name"] for baseline in document["baselines"]] == [
        "colour histogram", "random weights", "majority"
    ]  # fmt: skip
    assert str(calibrated.folder) not in json.dumps(document)


def test_evaluate_reads_a_label_file_and_names_unusable_rows(
    calibrated: Workshop, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    labels = (calibrated.tiles / "labels.csv").read_text() + "none.png,fat,x,0.5\n"
    Path("labels.csv").write_text(labels)
    (calibrated.tiles / "slide-01" / "0001.png").unlink()
    done = run("evaluate", "--labels", "labels.csv", "-i", calibrated.index)
    assert done.code == 3
    assert "1 row could not be used" in done.out
    assert "labels.csv line 34: none.png is not in the index" in caplog.text
    assert "colour histogram and random weights are left out" in done.out


def test_a_calibrated_look_up_loads_no_heavy_library(calibrated: Workshop) -> None:
    code = (
        "import sys\nfrom histo_index.api import index as api\n"
        f"answer = api.open('tiles.hx').pair({PAIR[0]!r}, {PAIR[1]!r}, unsure=True)\n"
        "assert answer.probability is not None\n"
        "print([m for m in ('torch', 'faiss', 'sklearn', 'scipy', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=calibrated.folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_from_python_the_open_index_uses_it_at_once(workshop: Workshop, stored: bytes) -> None:
    (workshop.index / "calibration.json").write_bytes(stored)
    index = api.open(workshop.index)
    assert index.calibration is not None
    first = index.pair(*PAIR)
    found = index.calibrate(unlabelled=True)
    assert found.is_unlabelled
    assert first.probability is not None
    assert index.pair(*PAIR).probability is None


def test_info_shows_the_calibration_and_detects_damage(calibrated: Workshop, run: Run) -> None:
    facts = json.loads(run("info", "-i", calibrated.index, "--json").out)
    assert facts["calibration"].startswith("calibrated for accuracy on 384 pairs of 32 tiles")
    path = calibrated.index / "calibration.json"
    path.write_bytes(path.read_bytes().replace(b'"prior": 0.', b'"prior": 1.'))
    done = run("info", "-i", calibrated.index)
    assert done.code == 0
    assert "calibration    damaged: checksum" in done.out
    path.unlink()
    facts = json.loads(run("info", "-i", calibrated.index, "--json").out)
    assert facts["calibration"] == "none"
