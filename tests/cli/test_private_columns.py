"""Private columns come out of no command, and into no filter, unless it says `--private`."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import histo_index
from histo_index.api.evaluate import read_labelled_pairs
from histo_index.errors import InputError
from tests.cli.conftest import Ran, Run, Workshop
from tests.cli.test_pairs_and_search import A, B
from tests.cli_page import list_commands

# A value of the private column: this and the number of the slide.
SECRET = "Wilhelmine-"
IS_PRIVATE = (
    "column patient is private; pass --private to use it, from python open(…, private=true)"
)
OUTPUTS = ("csv", "tsv", "parquet", "jsonl")
ASKING = (
    *(("search", A, "-k", "3", "-o", f"found.{suffix}") for suffix in OUTPUTS),
    ("search", A, "--json", "--montage", "found.png", "--report", "found.html", "--report-names"),
    ("search", "--batch", "names.txt"),
    ("search", A, "--where", "mpp = 'x'"),
    ("search", A, "--where", "lable = 'fat'"),
    ("search", A, "--exclude-same", "site"),
    ("pair", A, B, "--report", "pair.html", "--report-names"),
    ("pairs", "pairs.csv", "-o", "scores.csv"),
    *(
        ("duplicates", "--threshold", "4", "--tiles", "no", "-o", f"copies.{suffix}")
        for suffix in OUTPUTS
    ),
    ("duplicates", "--threshold", "4", "--tiles", "no", "--json", "--montage", "copies.png"),
    ("outliers", "-n", "3", "-o", "outliers.parquet"),
    ("outliers", "-n", "3", "--json"),
    ("close-pairs", "--threshold", "4", "-o", "close.parquet"),
    ("evaluate", "--report", "worth.html", "--report-names", "--json", "--tiles", "nowhere"),
    ("calibrate", "--labels", "label", "--group", "group"),
    ("classify", A, B, "--json"),
    ("search", A, "-k", "3"),
    ("heatmap", A, "--slide", "no.svs", "-o", "map.png"),
    ("calibrate", "--unlabelled", "--json"),
    ("export", "-o", "exported.parquet"),
    ("export", "-o", "atlas.parquet", "--atlas"),
    ("marks", "--json"),
    ("info", "--verify"),
    ("info", "--json"),
    ("remove", "--list", "names.txt"),
    ("compact", "--json"),
    ("reindex", "--json"),
    ("build", "tiles", "--manifest", "patients.csv", "--json"),
)
# Without an index to ask, or shown to ask nothing of one.
OTHERS = {
    "demo", "doctor", "encoder compare", "encoder import", "encoder info", "encoder init",
    "encoder list", "encoder verify", "import", "map", "plan", "restore", "serve", "slide", "tile",
    "train",
}  # fmt: skip
REFUSED = (
    ("search", A, "--where", f"patient = '{SECRET}1'"),
    ("search", A, "--where", f"\"PATIENT\" like '{SECRET}%'"),
    ("search", A, "--exclude-same", "patient"),
    ("search", A, "--exclude-same", "Patient"),
    ("remove", "--where", f"Patient = '{SECRET}1'"),
    ("evaluate", "--labels", "patient"),
    ("evaluate", "--group", "patient"),
    ("evaluate", "--pairs", "labelled.csv", "--group", "patient"),
    ("calibrate", "--labels", "label", "--group", "patient"),
    ("calibrate", "--unlabelled", "--group", "patient"),
)


@pytest.fixture
def secretive(workshop: Workshop, run: Run) -> Workshop:
    """A workshop whose manifest has a private column `patient`."""
    with open("tiles/labels.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["patient"] = SECRET + row["group"][-1]
    with open("patients.csv", "w", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    Path("names.txt").write_text(f"{A}\n{B}\n")
    Path("pairs.csv").write_text(f"{A},{B}\n")
    Path("labelled.csv").write_text(f"{A},{B},1\n{A},slide-02/0001.png,0\n")
    assert build(run, "--private", "patient").code == 0
    return workshop


def build(run: Run, *options: str) -> Ran:
    return run("build", "tiles", "--manifest", "patients.csv", *options)


def written(folder: Path) -> Iterator[str]:
    """Read every output file as text, Parquet as its values and names."""
    for path in folder.glob("*.*"):
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            yield f"{table.schema} {table.to_pylist()}"
        elif path.is_file() and path.name != "patients.csv":
            yield path.read_bytes().decode("utf-8", "replace")


def test_no_command_shows_a_private_value(
    secretive: Workshop, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    asked = {" ".join(command[:2]) for command in ASKING} | {command[0] for command in ASKING}
    assert set(dict(list_commands())) - asked == OTHERS
    codes = []
    for command in ASKING:
        ran = run(*command)
        assert SECRET not in ran.out + ran.err + caplog.text, command
        codes.append(ran.code)
    assert codes.count(0) >= len(ASKING) - 8
    texts = list(written(secretive.folder))
    assert len(texts) >= 15
    assert not [text for text in texts if SECRET in text]
    assert SECRET not in (secretive.index / "manifest.json").read_text()


def test_a_private_column_is_refused_in_one_line(secretive: Workshop, run: Run) -> None:
    for command in REFUSED:
        ran = run(*command)
        assert (ran.code, ran.out) == (2, ""), command
        assert ran.err.lower() == f"histo-index: error: {IS_PRIVATE}\n", command
    assert json.loads(run("info", "--json").out)["removed"] == 0


def test_a_private_group_is_refused_not_ignored(secretive: Workshop, run: Run) -> None:
    assert build(run, "--private", "group").code == 0
    for command in (
        ("evaluate",),
        ("calibrate", "--labels", "label"),
        ("calibrate", "--unlabelled"),
    ):
        ran = run(*command)
        assert (ran.code, ran.out) == (2, ""), command
        assert ran.err.startswith("histo-index: error: column group is private; pass --private")


def test_with_private_it_is_a_column_like_others(secretive: Workshop, run: Run) -> None:
    for command in (
        ("search", A, "-k", "3"),
        ("search", A, "-k", "3", "-o", "found.csv"),
        ("duplicates", "--threshold", "4", "--tiles", "no", "-o", "copies.parquet"),
        ("outliers", "-n", "3"),
    ):
        assert SECRET in run(*command, "--private").out, command
    assert [SECRET in text for text in written(secretive.folder)].count(True) == 2
    where = f"PATIENT = '{SECRET}1'"
    rows = json.loads(run("search", A, "--where", where, "--private", "--json").out)
    assert {row["patient"] for row in rows} == {f"{SECRET}1"}
    rows = json.loads(run("search", A, "--exclude-same", "patient", "--private", "--json").out)
    assert {row["patient"] for row in rows} == {f"{SECRET}2"}
    ran = run("remove", "--where", where, "--private")
    assert (ran.code, ran.out) == (
        0,
        "tiles.hx: 8 tiles removed; 8 tiles left\n"
        "  rule      patient = (private): later builds leave out every tile that matches\n",
    )


def test_python_hides_private_columns_by_default(secretive: Workshop) -> None:
    index = histo_index.open(secretive.index)
    assert "patient" not in index.opened.rows.column_names
    assert list(index.search(A, k=1)[0][0].metadata) == ["label", "group", "mpp"]
    assert SECRET not in str(index.opened.row(0))
    for options in ({"where": "patient is not null"}, {"exclude_same": "patient"}):
        with pytest.raises(InputError, match="column patient is private"):
            index.search(A, **options)  # type: ignore[arg-type]
    asked = histo_index.open(secretive.index, private=True)
    assert asked.search(A, k=1)[0][0].metadata["patient"].startswith(SECRET)
    assert len(asked.search(A, k=20, where=f"patient = '{SECRET}2'")[0]) == 8
    dataset = read_labelled_pairs(
        asked.opened, pairs=None, labels="label", label=None, group="patient"
    )
    assert dataset.group_names == [f"{SECRET}1", f"{SECRET}2"]


def test_later_builds_keep_private_columns_and_may_add_or_drop(
    secretive: Workshop, run: Run
) -> None:
    def private() -> list[str]:
        found: list[str] = json.loads(run("info", "--json").out)["settings"]["private"]
        return found

    assert private() == ["patient"]
    assert build(run).code == 0
    assert private() == ["patient"]
    ran = build(run, "--private", "Mpp", "--private", "patient", "--json")
    assert (json.loads(ran.out)["encoded"], private()) == (0, ["mpp", "patient"])
    assert run("reindex").code == 0
    assert histo_index.open(secretive.index).opened.hidden == ["mpp", "patient"]
    assert build(run, "--public", "PATIENT").code == 0
    assert private() == ["mpp"]
    assert SECRET in run("search", A).out


def test_a_private_column_is_remembered_while_no_manifest_has_it(
    secretive: Workshop, run: Run
) -> None:
    histo_index.build(secretive.tiles, secretive.index)
    assert json.loads(run("info", "--json").out)["settings"]["private"] == ["patient"]
    assert build(run).code == 0
    assert SECRET not in run("search", A).out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--private", "patent"),
            "--private patent: no such column; the tiles have label, group, mpp, patient",
        ),
        (
            ("--private", "image_id"),
            "--private image_id: every answer names tiles by it, so it stays public; keep personal "
            "data out of file names and image ids",
        ),
        (
            ("--private", "path"),
            "--private path: every answer names tiles by it, so it stays public; keep personal "
            "data out of file names and image ids",
        ),
        (("--public", "label"), "--public label: not private; private are: patient"),
        (
            ("--private", "label", "--public", "label"),
            "--private and --public label; pass one of them",
        ),
    ],
)
def test_invalid_private_column_is_one_line(
    secretive: Workshop, run: Run, options: tuple[str, ...], message: str
) -> None:
    before = (secretive.index / "manifest.json").read_bytes()
    ran = build(run, *options)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.splitlines()[-1] == f"histo-index: error: {message}"
    assert (secretive.index / "manifest.json").read_bytes() == before


def test_a_broken_manifest_quotes_no_cell(secretive: Workshop, run: Run) -> None:
    Path("patients.csv").write_text(f"path,patient\n{A},{SECRET}1,more\n")
    ran = build(run)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.splitlines()[-1] == (
        "histo-index: error: patients.csv: not a usable csv table "
        "(CSV parse error: Row #2: Expected 2 columns, got 3)"
    )
