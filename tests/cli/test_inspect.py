"""`duplicates`, `outliers` and `close-pairs` from the command line and from Python."""

import csv
import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
from PIL import Image

import histo_index
from tests.cli.conftest import Run, Workshop
from tests.cli.test_pairs_and_search import A, B


def test_duplicates_are_listed_and_drawn(workshop: Workshop, run: Run) -> None:
    shutil.copy(workshop.tiles / A, workshop.tiles / "again.png")
    assert run("build", "tiles", "--no-manifest").code == 0
    ran = run("duplicates", "--threshold", "0", "-o", "copies.csv", "--montage", "copies.png")
    assert ran.code == 0
    with open("copies.csv", encoding="utf-8") as file:
        rows = [(row["group"], row["image_id"], row["kind"]) for row in csv.DictReader(file)]
    assert rows == [("1", "again.png", "first"), ("1", A, "exact")]
    assert [line.split()[:3] for line in ran.out.splitlines()[1:]] == [list(row) for row in rows]
    with Image.open("copies.png") as picture:
        assert picture.width > 300
    ran = run("duplicates", "--threshold", "0", "-o", "copies.csv")
    assert (ran.code, ran.out) == (2, "")
    assert "copies.csv exists already" in ran.err


def test_without_duplicates_one_line_is_printed(workshop: Workshop, run: Run) -> None:
    assert run("duplicates", "--threshold", "0").out == "no duplicates\n"
    assert json.loads(run("duplicates", "--threshold", "0", "--json").out) == []
    ran = run("duplicates", "--threshold", "5")
    assert (ran.code, ran.err.splitlines()[-1]) == (
        2,
        "histo-index: error: threshold is 5.0; expected a distance from 0 to 4",
    )


def test_outliers_are_furthest_from_their_nearest_neighbour(workshop: Workshop, run: Run) -> None:
    rows = json.loads(run("outliers", "-n", "3", "--json").out)
    index = histo_index.open(workshop.index)
    nearest = {row["image_id"]: index.search(row["image_id"], k=1)[0][0] for row in rows}
    assert [row["rank"] for row in rows] == [1, 2, 3]
    for row in rows:
        found = nearest[row["image_id"]]
        assert (row["nearest"], row["distance"]) == (found.image_id, found.distance)
    other = index.search(B, k=1)[0][0]
    assert rows[0]["distance"] >= rows[2]["distance"]
    assert rows[0]["distance"] >= other.distance


def test_close_pairs_agree_with_pairs(workshop: Workshop, run: Run) -> None:
    ran = run("close-pairs", "--threshold", "0.01", "-o", "close.parquet")
    table = pq.read_table("close.parquet").to_pylist()
    assert (ran.code, ran.out) == (
        0, f"close.parquet: {len(table)} pairs at most 0.01 apart\n",
    )  # fmt: skip
    index = histo_index.open(Path("tiles.hx"))
    first = table[0]
    answer = index.pair(first["image_a"], first["image_b"])
    assert abs(answer.distance - first["distance"]) < 1e-6
    assert max(row["distance"] for row in table) <= 0.01
