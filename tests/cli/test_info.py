"""`info` names columns and classes, and lists rejected files with their reasons."""

import json

from tests.cli.conftest import Run, Workshop


def test_columns_and_classes_are_named(workshop: Workshop, run: Run) -> None:
    shown = run("info", "-i", workshop.index).out
    assert "columns        label; group" in shown
    assert "classes:\n  " in shown
    facts = json.loads(run("info", "-i", workshop.index, "--json").out)
    assert sum(facts["classes"].values()) == facts["tiles"]


def test_rejected_files_are_listed_with_reasons(workshop: Workshop, run: Run) -> None:
    assert run("info", "--rejected", "-i", workshop.index).out == "no rejected files\n"
    (workshop.tiles / "bad.png").write_text("no image")
    built = run("build", workshop.tiles, "-o", workshop.index, "--no-manifest")
    assert f"  reasons   histo-index info --rejected -i {workshop.index}" in built.out
    rows = json.loads(run("info", "--rejected", "-i", workshop.index, "--json").out)
    assert [row["path"] for row in rows] == ["bad.png"]
    assert rows[0]["reason"].startswith("not an image")
    header, line = run("info", "--rejected", "-i", workshop.index).out.splitlines()
    assert header.split() == ["path", "reason"]
    assert line.startswith("bad.png  not an image")
