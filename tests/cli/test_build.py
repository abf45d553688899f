"""`histo-index build`: summary, exit codes, and what it says to bad input."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import histo_index
from histo_index.encoder.folder import bundled_encoder, load_encoder
from tests.cli.conftest import Run, Workshop


def test_build_prints_its_counts(
    workshop: Workshop, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    ran = run("build", "tiles", "-o", "new.hx", "--encoder", "encoder")
    assert ran.code == 0
    assert ran.out.startswith("new.hx: 16 tiles, generation 1\n  encoded   16 (")
    assert "rejected  0\n  ignored   1 file without" in ran.out
    assert caplog.text.count("is untrained") == 1
    assert len(histo_index.open("new.hx")) == 16


def test_a_second_build_encodes_nothing(workshop: Workshop, run: Run) -> None:
    ran = run("build", "tiles", "-o", "tiles.hx", "--manifest", "tiles/labels.csv", "--json")
    report = json.loads(ran.out)
    assert (ran.code, report["encoded"], report["reused"], report["generation"]) == (0, 0, 16, 1)


def test_only_the_new_tile_is_encoded(workshop: Workshop, run: Run) -> None:
    run("build", "tiles", "-o", "new.hx", "--encoder", "encoder")
    source = workshop.tiles / "slide-01" / "0001.png"
    (workshop.tiles / "again.png").write_bytes(source.read_bytes() + b"\0")
    (workshop.tiles / "slide-02" / "0001.png").unlink()
    report = json.loads(run("build", "tiles", "-o", "new.hx", "--json").out)
    assert (report["encoded"], report["tiles"], report["generation"]) == (1, 16, 2)


def test_a_bad_image_is_rejected_alone_with_exit_status_3(workshop: Workshop, run: Run) -> None:
    (workshop.tiles / "text.png").write_text("this is no image")
    (workshop.tiles / "empty.jpg").touch()
    ran = run("build", "tiles", "-o", "new.hx", "--encoder", "encoder")
    assert ran.code == 3
    assert "16 tiles" in ran.out
    assert "1 × not an image" in ran.out
    assert "1 × the file is empty" in ran.out
    rows = pq.read_table("new.hx/rejected-000001.parquet").to_pylist()
    assert [(row["path"], row["reason"].split(":")[0].split(";")[0]) for row in rows] == [
        ("empty.jpg", "the file is empty"),
        ("text.png", "not an image"),
    ]
    assert run("build", "tiles", "-o", "new.hx", "--allow-rejected").code == 0


def test_an_empty_folder_is_one_clear_line(workshop: Workshop, run: Run) -> None:
    Path("nothing").mkdir()
    ran = run("build", "nothing", "-o", "new.hx", "--encoder", "encoder")
    assert (ran.code, ran.out) == (2, "")
    last = ran.err.splitlines()[-1]
    assert last.startswith("histo-index: error: nothing: no images found")


def test_a_missing_source_is_named(workshop: Workshop, run: Run) -> None:
    ran = run("build", "tils", "-o", "new.hx", "--encoder", "encoder")
    assert ran.code == 2
    assert ran.err.splitlines()[-1] == "histo-index: error: tils: no such file or folder"


def test_the_bundled_encoder_is_the_default(
    workshop: Workshop, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    ran = run("build", "tiles", "-o", "new.hx")
    assert ran.code == 0, ran.err
    stored = json.loads(Path("new.hx/manifest.json").read_text())["encoder"]
    assert stored["fingerprint"] == load_encoder(bundled_encoder()).fingerprint
    assert "is untrained" not in caplog.text


def test_another_encoder_is_exit_status_4_with_both_fingerprints(
    workshop: Workshop, run: Run
) -> None:
    run("encoder", "init", "-o", "other", "--arch", "resnet18", "--seed", "1")
    ran = run("build", "tiles", "-o", "tiles.hx", "--encoder", "other")
    assert ran.code == 4
    ours = json.loads((workshop.index / "manifest.json").read_text())["encoder"]["fingerprint"]
    theirs = json.loads(Path("other/config.json").read_text())["fingerprint"]
    assert ours in ran.err
    assert theirs in ran.err


def test_a_folder_without_a_manifest_is_refused(workshop: Workshop, run: Run) -> None:
    ran = run("build", "tiles", "-o", "tiles", "--encoder", "encoder")
    assert ran.code == 2
    assert "holds other files" in ran.err


def test_a_removed_precision_is_refused_in_one_line(workshop: Workshop, run: Run) -> None:
    ran = run("build", "tiles", "-o", "new.hx", "--encoder", "encoder", "--precision", "int8")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        "histo-index: error: device auto, precision int8: expected one of auto, cpu, cuda "
        "and one of auto, float32, bfloat16\n"
    )
