"""`--report` of evaluate, pair and search, as a user types it."""

import json
from pathlib import Path

from histo_index.report.pictures import Pictures
from tests.cli.conftest import Run, Workshop
from tests.report.reading import Page

A, B = "slide-01/0001.png", "slide-02/0003.png"


def read(name: str) -> Page:
    return Page(Path(name).read_text(encoding="utf-8"))


def test_evaluate_writes_a_report_and_overwrites_nothing(workshop: Workshop, run: Run) -> None:
    done = run("evaluate", "--report", "report.html")
    assert done.code == 0, done.err
    page = read("report.html")
    assert page.figures["headline"] == [done.out.splitlines()[0]]
    assert page.values["tiles"] == [16]
    assert "training: method" in page.text
    assert "missing" not in page.figures
    assert str(workshop.folder) not in page.source
    assert A not in page.source
    before = page.source
    again = run("evaluate", "--report", "report.html")
    assert again.code == 2
    assert again.err.endswith("report.html exists already; pass --overwrite to replace it\n")
    assert Path("report.html").read_text(encoding="utf-8") == before
    assert run("evaluate", "--report", "report.pdf").err.endswith("expected one of .html\n")


def test_pair_writes_a_report(workshop: Workshop, run: Run) -> None:
    done = run("pair", A, B, "--threshold", "0.02", "--report", "pair.html")
    assert done.code == 0, done.err
    page = read("pair.html")
    assert page.figures["verdict"] == [done.out.split()[0].capitalize()]
    assert f"distance {page.figures['distance'][0]}" in done.out
    assert page.values["threshold"] == [0.02]
    assert len([tag for tag, _ in page.elements if tag == "img"]) == 22
    assert A not in page.text
    run("pair", A, B, "--report", "pair.html", "--report-names", "--overwrite")
    assert A in read("pair.html").text
    refused = run("pair", A, B, "--encoder", workshop.encoder, "--report", "other.html")
    assert refused.code == 2
    assert "--encoder excludes --index and --report" in refused.err


def test_search_writes_a_report_of_tiles_wherever_they_lie(workshop: Workshop, run: Run) -> None:
    workshop.tiles.rename(workshop.folder / "elsewhere")
    done = run("search", A, B, "-k", "3", "--json", "--report", "gone.html")
    assert done.code == 0, done.err
    shown = {A, B, *(row["path"] for row in json.loads(done.out))}
    assert read("gone.html").figures["missing"][0].startswith(f"{len(shown)} of the tiles")
    run("search", A, B, "-k", "3", "--tiles", "elsewhere", "--report", "found.html")
    page = read("found.html")
    assert "missing" not in page.figures
    assert len(page.values["neighbour"]) == 6
    picture = Pictures(Path("elsewhere")).of(A)
    assert picture in [attributes.get("src") for _, attributes in page.elements]
