"""`search` with filters from the command line and from Python."""

import json
from pathlib import Path

from PIL import Image

import histo_index
from tests.cli.conftest import Run, Workshop
from tests.cli.test_pairs_and_search import A, B


def test_filters_from_the_command_line_are_those_from_python(workshop: Workshop, run: Run) -> None:
    ran = run("search", A, "-k", "100", "--where", "mpp < 0.6 and label <> 'fat'",
              "--exclude-same", "group", "--exclude-same", "label", "--json")  # fmt: skip
    rows = json.loads(ran.out)
    (own,) = (r for r in json.loads(run("search", A, "-k", "1", "--include-self", "--json").out))
    assert ran.code == 0
    assert rows
    assert own["group"] not in {row["group"] for row in rows}
    assert {own["label"], "fat"}.isdisjoint({row["label"] for row in rows})
    found = histo_index.open(workshop.index).search(
        A, k=100, where="mpp < 0.6 and label <> 'fat'", exclude_same=["group", "label"]
    )[0]
    assert [n.image_id for n in found] == [row["image_id"] for row in rows]
    alone = histo_index.open(workshop.index).search(A, k=100, exclude_same="group")[0]
    assert own["group"] not in {n.metadata["group"] for n in alone}


def test_filters_that_do_not_fit_are_one_line(workshop: Workshop, run: Run) -> None:
    for options, message in (
        (("--where", "lable = 'fat'"), "--where lable = 'fat': there is no column lable;"),
        (("--where", "label = 'stone'"), "--where label = 'stone': true of no tile"),
        (("--exclude-same", "patient"), "--exclude-same patient: no such column; the index has"),
        (("--value", "group"), "--value group: expected COLUMN=VALUE, such as group=patient-7"),
        (("--near-duplicates", "some"), "--near-duplicates some: expected keep or drop"),
        (("-k", "0"), "Invalid value for '-k'"),
    ):
        ran = run("search", A, *options)
        assert (ran.code, ran.out) == (2, "")
        assert message in ran.err
        assert "Traceback" not in ran.err


def test_a_batch_asks_for_every_name_of_a_list(workshop: Workshop, run: Run) -> None:
    Path("more.csv").write_text(f"image,label\n{B},x\n{A},y\n")
    rows = json.loads(run("search", A, "--batch", "more.csv", "-k", "2", "--json").out)
    assert [(row["query"], row["rank"]) for row in rows] == [
        (A, 1), (A, 2), (B, 1), (B, 2), (A, 1), (A, 2),
    ]  # fmt: skip
    ran = run("search")
    assert (ran.code, ran.err.splitlines()[-1]) == (
        2,
        "histo-index: error: no images: name some, or pass --batch LIST",
    )


def test_a_bad_row_of_a_batch_has_a_reason_and_others_are_answered(
    workshop: Workshop, run: Run
) -> None:
    Path("broken.png").write_bytes(b"no image")
    Path("list.txt").write_text(f"{A}\nnowhere.png\n{B}\nbroken.png\n{A}\n")
    ran = run("search", "--batch", "list.txt", "-k", "2", "--json", "--montage", "m.png")
    rows = json.loads(ran.out)
    assert ran.code == 3
    assert [(row["query"], row["rank"], row["status"]) for row in rows] == [
        (A, 1, "ok"), (A, 2, "ok"), ("nowhere.png", None, "error"), (B, 1, "ok"), (B, 2, "ok"),
        ("broken.png", None, "error"), (A, 1, "ok"), (A, 2, "ok"),
    ]  # fmt: skip
    assert rows[2]["message"].startswith("nowhere.png: not in the index, and no such file in ")
    assert "broken.png" in rows[5]["message"]
    assert rows[0]["message"] == ""
    alone = json.loads(run("search", A, "-k", "2", "--json").out)
    assert [r["image_id"] for r in rows[:2]] == [r["image_id"] for r in alone]
    assert Path("m.png").stat().st_size > 0
    Image.new("RGB", (40, 40), "red").save("red.png")
    Path("list.txt").write_text(f"{A}\nred.png\n{B}\n")
    ran = run("search", "--batch", "list.txt", "-k", "2", "--exclude-same", "group", "-o", "o.csv")
    lines = Path("o.csv").read_text().splitlines()
    assert ran.code == 3
    assert [line.split(",")[0] for line in lines] == ["query", A, A, "red.png", B, B]
    assert lines[3].endswith(
        ",error,--exclude-same group: red.png is not in the index; pass --value group=VALUE"
    )
    groups = {row["group"] for row in json.loads(run("search", "red.png", "--json").out)}
    own = min(groups)
    ran = run("search", "red.png", "--exclude-same", "group", "--value", f"group={own}", "--json")
    assert ran.code == 0
    rows = json.loads(ran.out)
    assert rows
    assert own not in {row["group"] for row in rows}
    found = histo_index.open(workshop.index).search(
        "red.png", exclude_same="group", values={"group": own}
    )
    assert [each.image_id for each in found[0]] == [row["image_id"] for row in rows]


def test_a_structure_is_built_and_shown(workshop: Workshop, run: Run) -> None:
    before = json.loads(run("search", A, "-k", "5", "--json").out)
    assert json.loads(run("info", "--json").out)["searched_by"] == {"factory": "exact"}
    assert run("reindex", "--structure", "SQ8", "--recall", "0.5", "--memory", "1MB").code == 0
    facts = json.loads(run("info", "--verify", "--json").out)
    assert facts["searched_by"]["factory"] == "SQ8"
    assert facts["searched_by"]["recall"] >= 0.5
    assert facts["settings"]["search"] == {
        "structure": "SQ8", "recall": 0.5, "memory_bytes": 1_000_000,
    }  # fmt: skip
    assert json.loads(run("search", A, "-k", "5", "--json").out) == before
    # A rebuild keeps it; another option replaces it.
    assert run("build", "tiles").code == 0
    assert json.loads(run("info", "--json").out)["searched_by"]["factory"] == "SQ8"
    ran = run("reindex", "--structure", "exact")
    assert (ran.code, json.loads(run("info", "--json").out)["searched_by"]) == (
        0, {"factory": "exact"},
    )  # fmt: skip
    for options, message in (
        (("--memory", "much"), "--memory 'much': expected an amount such as 4GB or 500MB"),
        (("--recall", "2"), "recall is 2.0; expected more than 0 and less than 1"),
        (("--structure", "Flut"), "--structure Flut: FAISS cannot make it of 512 dimensions"),
    ):
        ran = run("reindex", *options)
        assert (ran.code, ran.out) == (2, "")
        assert message in ran.err
