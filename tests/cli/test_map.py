"""`map` from the command line."""

import importlib.util
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run, Workshop


def test_a_map_is_made_kept_and_overwritten(workshop: Workshop, run: Run) -> None:
    assert "map" not in json.loads(run("info", "--json").out)
    ran = run("map")
    lines = ran.out.splitlines()
    assert ran.code == 0
    (shown,) = (line for line in run("info").out.splitlines() if line.startswith("map "))
    made = r"map            16 different tiles \(t-SNE, openTSNE [\d.]+, seed 0, generation 1\)"
    assert re.fullmatch(made, shown)
    assert lines[0] == "tiles.hx: 16 different tiles on the map"
    assert re.fullmatch(r"  laid out  16 by t-SNE, openTSNE [\d.]+, perplexity 5, seed 0", lines[1])
    assert lines[2:] == [
        "  placed    0 by their neighbours", "  see it    histo-index serve -i tiles.hx",
    ]  # fmt: skip
    stored = (workshop.index / "map.parquet").read_bytes()
    assert run("map").out.splitlines()[1] == f"{lines[1]}, at generation 1"
    assert (workshop.index / "map.parquet").read_bytes() == stored
    ran = run("map", "--seed", "1")
    assert (ran.code, ran.err) == (
        2,
        "histo-index: error: tiles.hx has a map already; pass --overwrite to lay its tiles out "
        "again\n",
    )
    report = json.loads(run("map", "--seed", "1", "--overwrite", "--json").out)
    assert {name: report[name] for name in ("tiles", "placed", "seed", "perplexity")} == {
        "tiles": 16, "placed": 0, "seed": 1, "perplexity": 5.0,
    }  # fmt: skip
    assert (workshop.index / "map.parquet").read_bytes() != stored


def test_a_damaged_map_is_named_by_export_and_made_again(workshop: Workshop, run: Run) -> None:
    path = workshop.index / "map.parquet"
    path.write_bytes(b"PAR1")
    ran = run("export", "-o", "out.parquet", "--atlas")
    assert ran.code == 1
    assert ran.err.startswith("histo-index: error: tiles.hx/map.parquet: damaged (")
    assert ran.err.endswith("; run `histo-index map` again, which lays all tiles out\n")
    assert not Path("out.parquet").exists()
    assert run("info").err == ran.err
    assert run("map").code == 0
    assert run("export", "-o", "out.parquet", "--atlas").code == 0


def test_a_map_without_its_library_names_the_extra(
    workshop: Workshop, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    find: Callable[..., Any] = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *a: None if name == "openTSNE" else find(name, *a)
    )
    ran = run("map")
    assert (ran.code, ran.err) == (
        2,
        "histo-index: error: a map needs openTSNE, which is not installed; "
        "run pip install 'histo-index[map]'\n",
    )
    assert not (workshop.index / "map.parquet").exists()
