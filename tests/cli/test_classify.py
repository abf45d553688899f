"""`classify`, and the classes that `search` prints, as a user types them."""

import csv
import json
import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import histo_index
from tests.cli.conftest import Run
from tests.search.classes import CLASSES, TILES, class_vectors

CONDITION = "for a tile of a new group, if its class is among those labelled here"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index calibrated on tiles of three classes, t00.png onwards, in sixteen batches.

    Tile i is of class i modulo 3, patient i modulo 8 and batch i modulo 16.
    """
    vectors, labels, patients = class_vectors(0.5)
    columns = {"label": labels, "patient": patients, "batch": [f"b{i % 16}" for i in range(TILES)]}
    names = [f"t{tile:02d}.png" for tile in range(TILES)]
    folder = tmp_path_factory.mktemp("classify") / "it.hx"
    histo_index.from_embeddings(names, vectors, folder, columns)
    histo_index.open(folder).calibrate(labels="label", group="batch")
    return folder


@pytest.fixture
def index(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it as the only index of the working directory."""
    shutil.copytree(made, tmp_path / "it.hx")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HISTO_INDEX", raising=False)
    return tmp_path / "it.hx"


def test_every_image_has_a_row_of_classes(index: Path, run: Run) -> None:
    ran = run("classify", "t00.png", "none.png", "t01.png", "-o", "classes.csv")
    assert ran.code == 3
    with open("classes.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "query", "class", "probability", "probability_low", "probability_high", "novel",
        *(f"p({name})" for name in CLASSES), "status", "message",
    ]  # fmt: skip
    assert [row["query"] for row in rows] == ["t00.png", "none.png", "t01.png"]
    assert [row["class"] for row in rows] == [CLASSES[0], "", CLASSES[1]]
    assert [row["status"] for row in rows] == ["ok", "error", "ok"]
    assert rows[1]["message"].startswith("none.png: ")
    for row in (rows[0], rows[2]):
        chances = [float(row[f"p({name})"]) for name in CLASSES]
        assert sum(chances) == pytest.approx(1)
        assert max(chances) == float(row["probability"])
        assert float(row["probability_low"]) < max(chances) < float(row["probability_high"])
    (found,) = histo_index.open(index).classify("t00.png")
    assert float(rows[0]["probability"]) == pytest.approx(found.probability)
    refused = run("classify", "t00.png", "-o", "classes.csv")
    assert (refused.code, refused.out) == (2, "")


def test_the_condition_stands_below_the_numbers(index: Path, run: Run) -> None:
    out = run("classify", "t00.png").out
    lines = out.splitlines()
    (answer,) = histo_index.open(index).classify("t00.png")
    assert lines[0] == f"t00.png: {answer.label} {answer.probability:.3f}"
    best = answer.chances[0]
    assert lines[1].split() == [
        best.label, f"{best.probability:.3f}", f"{best.low:.3f}…{best.high:.3f}"
    ]  # fmt: skip
    assert [line.split()[0] for line in lines[1:4]] == [one.label for one in answer.chances]
    assert lines[4] == f"{CONDITION}; 95 % intervals"
    many = run("classify", *(f"t{tile:02d}.png" for tile in range(6))).out.splitlines()
    assert [line.split(":")[0] for line in many] == [f"t0{i}.png" for i in range(6)] + [CONDITION]
    run("calibrate", "--labels", "label", "--group", "patient")
    few = run("classify", "t00.png").out.splitlines()
    assert few[-1] == f"{CONDITION}; no intervals: fewer than ten groups are labelled"
    assert len(few[1].split()) == 2


def test_without_a_number_no_condition_is_printed(index: Path, run: Run) -> None:
    ran = run("classify", "none.png")
    (line,) = ran.out.splitlines()
    assert ran.code == 3
    assert line.startswith("none.png: not ")
    run("calibrate", "--clear")
    ran = run("classify", "t00.png")
    assert (ran.code, ran.out) == (2, "")
    assert "the index has no class model: run `histo-index calibrate --labels COLUMN`" in ran.err


def test_a_class_whose_tiles_are_gone_is_not_scored_as_unlikely(index: Path, run: Run) -> None:
    # Less than a fifth of the index, but all of one class.
    rows = histo_index.open(index).table(columns=["image_id", "label"]).to_pylist()
    fat = [row["image_id"] for row in rows if row["label"] == "fat"]
    labelled = Path("labels.csv")
    names = [*fat[:8], *(row["image_id"] for row in rows if row["label"] != "fat")]
    kinds = {row["image_id"]: row["label"] for row in rows}
    lines = [f"{name},{kinds[name]},{name}" for name in names]
    labelled.write_text("path,label,group\n" + "\n".join(lines) + "\n")
    assert run("calibrate", "--labels", "labels.csv").code == 0
    Path("gone.txt").write_text("\n".join(fat[:8]) + "\n")
    assert run("remove", "--list", "gone.txt").code == 0
    ran = run("classify", fat[8])
    assert ran.out == (
        f"{fat[8]}: no class probabilities: fat: labelled tiles of fewer than 2 groups are left "
        "since the calibration; run `histo-index calibrate` again\n"
    )
    assert ran.code == 3


def test_a_value_of_a_column_that_is_not_there_is_refused(index: Path, run: Run) -> None:
    for command in (("classify", "t00.png"), ("search", "t00.png")):
        ran = run(*command, "--value", "pateint=patient-1")
        assert (ran.code, ran.out) == (2, ""), command
        assert ran.err == (
            "histo-index: error: --value pateint: no such column; "
            "the index has image_id, path, sha256, width, height, note, label, patient, batch\n"
        )


def test_search_names_the_class_that_a_probability_is_of(index: Path, run: Run) -> None:
    # The classes come from a file: no column of the index shows them.
    rows = histo_index.open(index).table(columns=["image_id", "label", "batch"]).to_pylist()
    lines = [f"{row['image_id']},kind-{row['label']},{row['batch']}" for row in rows]
    Path("labels.csv").write_text("path,label,group\n" + "\n".join(lines) + "\n")
    assert run("calibrate", "--labels", "labels.csv").code == 0
    found = json.loads(run("search", "t00.png", "-k", "96", "--json").out)
    (answer,) = histo_index.open(index).classify("t00.png")
    chances = {one.label: one.probability for one in answer.chances}
    assert {row["class"] for row in found} == {f"kind-{name}" for name in CLASSES}
    for row in found:
        assert row["class"] == f"kind-{row['label']}"
        own = row["batch"] == rows[0]["batch"]
        assert row["probability"] == (None if own else pytest.approx(chances[row["class"]]))
    # Columns do not depend on the neighbours: here all are of the query's own group.
    assert (
        run("search", "t00.png", "-k", "2", "--where", "batch = 'b0'", "-o", "own.parquet").code
        == 0
    )
    table = pq.read_table("own.parquet")
    assert table["probability"].to_pylist() == [None, None]
    assert table.column_names[5:10] == [
        "verdict", "class", "probability", "probability_low", "probability_high"
    ]  # fmt: skip
    assert str(table.schema.field("probability").type) == "double"
    header, first, *rest = run("search", "t00.png", "-k", "1").out.splitlines()
    cells = dict(zip(*(re.split(" {2,}", line) for line in (header, first)), strict=True))
    # The same digits as in the table of classes, which is below.
    table = dict(line.split()[:2] for line in rest[2:5])
    assert table[cells["class"]] == cells["probability"]
    assert rest[-1] == f"{CONDITION}; 95 % intervals"
