"""The commands `import`, `encoder verify` and `export`: what they print, store and refuse."""

import importlib.util
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import histo_index
from histo_index.api.features.slides import open_folder
from histo_index.encoder.encoder import open_encoder
from histo_index.errors import InputError, MismatchError
from histo_index.features.tiles import SlideFound
from histo_index.indexer.inputs.tables import read_table
from histo_index.slides.reading.identity import SlideTile
from tests.cli.conftest import Run, run
from tests.features.writers import (
    SlideFeatures,
    draw_slide,
    settle,
    write_clam,
    write_parquet,
    write_trident,
)
from tests.slide_files import SlideLook, draw_plane, write_slide
from tests.small_encoder import write_small_encoder

__all__ = ["run"]

TILE_PX = 64


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HISTO_INDEX", raising=False)
    return tmp_path


def test_what_cannot_be_used_is_told_in_a_line_each(here: Path, run: Run) -> None:
    slide = draw_slide("a", 12, 4)
    slide.features[3], slide.features[5], slide.features[6, 1] = 0, 0, np.nan
    slide.places[9] = slide.places[2]
    write_trident(here / "t", slide)
    write_trident(here / "t", draw_slide("b", 12, 5))
    write_trident(here / "t", draw_slide("c", 12, 4, seed=1))
    cut = draw_slide("d", 12, 4, seed=2)
    write_clam(here / "t", replace(cut, places=cut.places + 512))
    write_clam(here / "u", cut)
    (here / "u" / "patches" / "d.h5").replace(here / "t" / "patches" / "d.h5")
    own = draw_slide("", 4, 4).features
    write_parquet(here / "t" / "own.parquet", own, pa.table({"image_id": ["p", "p", "", "q"]}))
    (here / "mpp.csv").write_text("slide,mpp\na,0.25\nb,0.25\nd,0.25\n")
    settle(here)
    ran = run("import", "t", "-o", "x.hx", "--slide-mpp", "mpp.csv")
    assert ran.code == 3
    assert ran.out.splitlines()[:-1] == [
        "x.hx: 10 tiles of 1 slide",
        "  read      1 file of Parquet, 1 file of TRIDENT, 1 file of CLAM or TRIDENT; 1 other file "
        "ignored",
        "  encoder   uni_v2, 4 numbers: declared, not verified",
        "  rejected  8",
        "            t/features_uni_v2/a.h5: all 0: 2 of 12 rows: 3, 5",
        "            t/features_uni_v2/a.h5: not finite: 1 of 12 rows: 6",
        "            t/features_uni_v2/a.h5: the place of an earlier row: 1 of 12 rows: 9",
        "            t/features_uni_v2/b.h5: another size: 5 numbers; the import has 4",
        "            t/features_uni_v2/c.h5: no scale: TRIDENT stores none in microns per pixel; "
        "pass --slides DIR with the slides, or --slide-mpp with a CSV of the columns slide,mpp",
        "            t/h5_files/d.h5: other places than t/patches/d.h5, which has the size of its "
        "patches; pass the file that its tiles were cut by",
        "            t/own.parquet: image_id that is there already: 1 of 4 rows: 1",
        "            t/own.parquet: no image_id: 1 of 4 rows: 2",
    ]
    listed = run("info", "--rejected", "-i", "x.hx").out
    assert "not finite: 1 of 12 rows: 6" in listed
    again = run("import", "-o", "x.hx")
    first, second = ran.out.splitlines()[:2]
    assert again.code == 3
    assert again.out.splitlines()[:2] == [first, f"{second}; 3 unchanged, not read again"]
    other = run("import", "mpp.csv", "-o", "x.hx")
    assert (other.code, other.err) == (
        2,
        "histo-index: error: mpp.csv is no input of x.hx yet, which holds the features of t; "
        "nothing was changed: pass --add to add it, or --replace to keep only what is named\n",
    )


def test_answers_say_that_the_encoder_was_not_verified(here: Path, run: Run) -> None:
    for name in ("a", "b"):
        write_trident(here / "t", draw_slide(name, 5, 4))
    (here / "mpp.csv").write_text("slide,mpp\na.svs,0.25\nb,0.25\n")
    (here / "cases.csv").write_text("slide,patient,label\na.svs,p1,x\nother,p9,y\n")
    usual = ("--slide-mpp", "mpp.csv", "--metadata", "cases.csv")
    assert run("import", "t", "-o", "x.hx", *usual, "--private", "patient").code == 0
    first, second = list(histo_index.open("x.hx"))[:2]
    assert first == "a#x=0,y=0,mpp=0.5,size=256,slide_mpp=0.25"
    note = "uni_v2: declared, not verified"
    assert run("pair", first, second).out.splitlines()[-1] == f"  encoder    {note}"
    assert json.loads(run("pair", first, second, "--json").out)["encoder_note"] == note
    assert run("search", first, "-k", 1).out.splitlines()[-1].endswith(note)
    assert json.loads(run("search", first, "-k", 1, "--json").out)[0]["encoder_note"] == note
    (here / "pairs.csv").write_text(f'image_a,image_b\n"{first}","{second}"\n')
    assert note in run("pairs", "pairs.csv", "-o", "p.csv").out
    assert json.loads(run("pairs", "pairs.csv", "--json").out)["encoder_note"] == note
    assert "encoder_status declared, not verified" in run("info").out
    run("pair", first, second, "--report", "r.html")
    assert "declared, not verified" in Path("r.html").read_text()
    (here / "new.png").write_bytes(b"any image")
    assert "encodes no image: ask about its own tiles, by image id, or verify an encoder with" in (
        run("search", "new.png").err
    )
    # The metadata joined by slide, and the private column stays private, in an export too.
    assert histo_index.open("x.hx").table(["slide_id", "label"]).to_pydict() == {
        "slide_id": ["a"] * 5 + ["b"] * 5, "label": ["x"] * 5 + [None] * 5,
    }  # fmt: skip
    with pytest.raises(InputError, match="column patient is private"):
        histo_index.open("x.hx").table(["patient"])
    run("export", "-o", "out.parquet")
    assert "patient" not in pq.ParquetFile("out.parquet").schema_arrow.names
    (here / "cases.csv").write_text("slide,mpp\na,1\n")
    refused = run("import", "t", "-o", "y.hx", *usual)
    assert refused.err == (
        "histo-index: error: --metadata: column `mpp` is written by the import; rename it\n"
    )
    assert not Path("y.hx").exists()


def test_a_missing_library_is_named_with_its_extra(
    here: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "a.h5").write_bytes(b"")
    (here / "a.zarr").mkdir()
    find: Callable[..., Any] = importlib.util.find_spec
    without = ("h5py", "zarr")
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *a: None if name in without else find(name, *a)
    )
    for name, extra in (("a.h5", "h5"), ("a.zarr", "zarr")):
        ran = run("import", name, "-o", "x.hx")
        assert ran.code == 2
        assert f"which is not installed; run pip install 'histo-index[{extra}]'\n" in ran.err
        assert ran.err.count("\n") == 1


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two slides, an encoder, and features that it computed of 55 tiles of each."""
    root = tmp_path_factory.mktemp("verify")
    for seed in (1, 2):
        write_small_encoder(root / f"encoder-{seed}", seed=seed)
    encoder = open_encoder(root / "encoder-1")
    places = np.array([(128 * x, 128 * y) for y in range(1, 6) for x in range(1, 12)])
    for number, folder in enumerate(("one", "two")):
        path = root / "slides" / folder / f"s{number}.ome.tif"
        write_slide(path, draw_plane(seed=number), SlideLook(mpp=0.25))
        tiles = [
            Path(str(SlideTile(slide=str(path), x=x, y=y, mpp=0.5, size=TILE_PX)))
            for x, y in places.tolist()
        ]
        found = np.stack([tile.embedding for tile in encoder.encode_files(tiles)])  # type: ignore[union-attr]
        slide = SlideFeatures(name=f"s{number}", features=7 * found, places=places, size_px=TILE_PX)
        write_trident(root / "t", slide)
    return root


def test_an_encoder_that_reproduces_the_features_answers_about_new_images(
    workshop: Path, here: Path, run: Run
) -> None:
    usual = ("import", workshop / "t", "-o", "x.hx", "--slides", workshop / "slides")
    other = run(*usual, "--encoder", workshop / "encoder-2", "--distance", "plain")
    assert other.code == 4
    assert other.out.splitlines()[4].startswith("  cosines   of 100 tiles of 2 slides: lowest ")
    assert other.out.splitlines()[5].startswith("  encoder   not verified: expected a median of")
    first = next(iter(histo_index.open("x.hx")))
    assert first == "one/s0.ome.tif#x=128,y=128,mpp=0.5,size=64"
    Image.fromarray(draw_plane()[300:364, 300:364]).save("new.png")
    assert run("search", "new.png").code == 1
    verified = run("encoder", "verify", workshop / "encoder-1")
    assert verified.code == 0
    shown, outcome = verified.out.splitlines()
    assert shown.startswith("cosines   of 100 tiles of 2 slides: lowest ")
    assert outcome == "encoder   verified: new images are answered"
    index = histo_index.open("x.hx")
    declared = index.manifest.encoder.declared
    assert declared is not None
    assert declared.verified is not None
    assert declared.verified.cosines["median"] >= 0.995
    assert "verified on 100 tiles (median cosine " in run("info", "--verify").out
    answer = run("search", "new.png", "-k", 2, "--json")
    assert answer.code == 0
    assert "encoder_note" not in json.loads(answer.out)[0]
    (near,) = index.search(first, k=1, exclude_self=False)
    assert near[0].image_id == first


def test_an_encoder_that_cannot_be_compared_is_refused(workshop: Path, here: Path) -> None:
    histo_index.from_embeddings(["a"], [[1.0, 0.0]], "small.hx")
    with pytest.raises(MismatchError, match="holds embeddings of 2 numbers, but the encoder"):
        histo_index.verify_encoder("small.hx", workshop / "encoder-1")
    histo_index.from_embeddings(["a"], np.ones((1, 512)), "few.hx")
    with pytest.raises(InputError, match=r"few.hx: 1 tile; verifying takes 100"):
        histo_index.verify_encoder("few.hx", workshop / "encoder-1")


def test_slides_that_are_missing_or_there_twice_are_named(here: Path) -> None:
    for name in ("a/s0.ome.tif", "a/s1.svs", "b/s1.svs"):
        (here / "slides" / name).parent.mkdir(parents=True, exist_ok=True)
        (here / "slides" / name).write_bytes(b"")
    folder = open_folder(here / "slides", {"s0.ome.tif": 0.25})
    assert folder.find("s0") == SlideFound(path="a/s0.ome.tif", mpp=0.25, is_given=True)
    for name, words in {"gone": "no such slide", "s1": "2 slides of that name"}.items():
        with pytest.raises(InputError, match=f"{words} in .*: {name}; pass its folder"):
            folder.find(name)


def test_an_export_comes_back_and_shows_in_embedding_atlas(
    workshop: Path, here: Path, run: Run
) -> None:
    usual = ("-o", "x.hx", "--slides", workshop / "slides", "--distance", "plain")
    run("import", workshop / "t", *usual)
    original = histo_index.open("x.hx")
    for name in ("a.h5ad", "a.npy", "a.parquet"):
        assert run("export", "-i", "x.hx", "-o", name).code == 0
    table = pq.ParquetFile("a.parquet").read()
    lists = table["embedding"].combine_chunks().flatten().to_numpy().reshape(len(original), -1)
    assert np.array_equal(lists, original.embeddings())
    assert np.array_equal(np.load("a.npy"), original.embeddings())
    assert read_table(Path("a.csv"))["image_id"].to_pylist() == list(original)
    assert run("import", "a.h5ad", "-o", "y.hx", "--distance", "plain").code == 0
    again = histo_index.open("y.hx")
    assert list(again) == list(original)
    assert np.array_equal(again.embeddings(), original.embeddings())
    for column in ("path", "slide_id", "x", "y", "mpp", "size", "width"):
        stored = original.table([column])[column].to_pylist()
        assert again.table([column])[column].to_pylist() == stored, column
        assert table[column].to_pylist() == stored, column
    with h5py.File("a.h5ad") as file:
        assert dict(file.attrs) == {"encoding-type": "anndata", "encoding-version": "0.1.0"}
        assert file["obsm/spatial"][1].tolist() == [256, 128]
    ran = run("export", "-i", "x.hx", "-o", "atlas.parquet", "--atlas")
    assert ran.out.splitlines()[2] == "  images    110 of 110 tiles"
    table = pq.ParquetFile("atlas.parquet").read()
    assert table.column_names == [
        "image_id", "slide_id", "x", "y", "mpp", "size", "features_file", "map_x", "map_y",
        "neighbors", "image",
    ]  # fmt: skip
    row = table.slice(7, 1).to_pylist()[0]
    near = original.search(row["image_id"], k=10)[0]
    ids = list(original)
    assert [ids[number] for number in row["neighbors"]["ids"]] == [n.image_id for n in near]
    (here / "image.jpg").write_bytes(row["image"]["bytes"])
    with Image.open("image.jpg") as image:
        assert image.size == (64, 64)
    refused = run("export", "-i", "x.hx", "-o", "atlas.npy", "--atlas")
    assert "--atlas writes Parquet; pass a name that ends with .parquet" in refused.err
