"""The commands about slides: what they print and how they exit."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.slide_files import SlideLook, draw_plane, write_slide


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_slide(tmp_path / "s/a.tiff", draw_plane())
    write_slide(tmp_path / "s/b.tiff", draw_plane(), SlideLook(mpp=None))
    return tmp_path


def test_slide_describes_slides(here: Path, run: Run) -> None:
    (here / "c.svs").write_bytes(b"none")
    ran = run("slide", "s/a.tiff", "s/b.tiff", "c.svs")
    assert ran.code == 3
    first, second, third = ran.out.split("\n\n")
    assert first.splitlines()[3:8] == [
        "size_px        1536×1280",
        "mpp            0.5 × 0.5",
        "mpp_from       the file (openslide.mpp)",
        "levels         1536×1280 at 0.5 µm/px; 384×320 at 2 µm/px",
        "bounds         1536×1280 from 0, 0",
    ]
    assert "no scale (microns per pixel) in the file; pass --slide-mpp with a CSV" in second
    assert third.splitlines() == [
        "slide          c.svs",
        "error          not a slide: no reader knows its content; check the file",
    ]
    facts = json.loads(run("slide", "s/a.tiff", "--json").out)
    assert facts[0]["levels"][1]["mpp"] == pytest.approx(2.0)
    missing = run("slide", "d.svs")
    assert (missing.code, missing.err) == (
        2, "histo-index: error: d.svs: no such file or folder\n"
    )  # fmt: skip


def test_tile_lists_tiles_and_names_what_it_rejects(here: Path, run: Run) -> None:
    ran = run("tile", "s", "-o", "t.parquet", "--mpp", "0.5")
    assert ran.code == 3
    assert ran.out.splitlines() == [
        "t.parquet: 6 tiles of 1 slide",
        "  s/a.tiff: 6 tiles, 0.1 mm² of tissue, read at 0.5 µm/px",
        "  rejected s/b.tiff: no scale (microns per pixel) in the file; pass --slide-mpp with a "
        "CSV of the columns slide,mpp",
    ]
    again = run("tile", "s", "-o", "t.parquet", "--mpp", "0.5")
    assert again.code == 2
    assert "t.parquet exists already; pass --overwrite to replace it" in again.err
    odd = run("tile", "s", "-o", "u.parquet", "--mpp", "0.5", "--overlap", "1")
    assert (odd.code, odd.out) == (2, "")
    assert odd.err == (
        "histo-index: error: overlap 1.0 is not usable; expected a share from 0 to 0.95\n"
    )


@pytest.mark.parametrize(
    ("option", "existing"),
    [
        ("--preview", "s/b.tiff.png"),
        ("--geojson", "s/b.tiff.geojson"),
        ("--save-tiles", "s/b.tiff"),
    ],
)
def test_tile_replaces_nothing_unasked(here: Path, run: Run, option: str, existing: str) -> None:
    """The existing file is of the second slide: nothing is written for the first one either."""
    (here / "out" / existing).mkdir(parents=True)
    ran = run("tile", "s", "-o", "t.parquet", "--mpp", "0.5", option, "out")
    line = f"histo-index: error: out/{existing} exists already; pass --overwrite to replace it\n"
    assert (ran.code, ran.out, ran.err) == (2, "", line)
    assert [path.name for path in (here / "out/s").iterdir()] == [Path(existing).name]
    assert not (here / "t.parquet").exists()


def test_slide_mpp_without_mpp_is_refused(here: Path, run: Run) -> None:
    (here / "mpp.csv").write_text("slide,mpp\nb.tiff,0.5\n")
    ran = run("build", "s", "-o", "x.hx", "--slide-mpp", "mpp.csv")
    assert ran.code == 2
    assert "--slide-mpp needs --mpp, the scale that slides are cut at" in ran.err


def test_by_knows_only_slides(here: Path, run: Run) -> None:
    ran = run("search", "a.tiff", "--by", "patient", "-i", "x.hx")
    assert (ran.code, ran.err) == (2, "histo-index: error: --by patient: expected slide\n")
    for option in (
        ["--where", "x > 5"],
        ["--engine", "ray"],
        ["--parts", "2"],
        ["--mpp", "0.5"],
        ["--include-self"],
        ["--near-duplicates", "drop"],
        ["--any-mpp"],
    ):
        ran = run("search", "a.tiff", "--by", "slide", *option, "-i", "x.hx")
        line = f"histo-index: error: {option[0]} is no option of --by slide; leave it out\n"
        assert (ran.code, ran.err) == (2, line)
