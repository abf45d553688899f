"""Answers about slide tiles: search, montage, report, heatmap, similar slides."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shapely.geometry import shape

import histo_index
from histo_index.api.index import Index
from histo_index.api.slides.heatmap import heatmap, read_picture
from histo_index.errors import ImageError, InputError
from histo_index.indexer.hashing.cache import find_state, write_states
from histo_index.indexer.hashing.files import look_at_slide
from histo_index.indexer.hashing.tiles import STATES, hash_tiles
from histo_index.indexer.inputs.tile_list import TileList
from histo_index.indexer.reader import OpenIndex
from histo_index.search.inputs.resolve import Resolver
from histo_index.search.slides.similar import find_similar_slides
from histo_index.slides.reading.identity import SlideTile
from histo_index.slides.tiling.options import SlideSource, TileOptions
from tests.decoding import DecodingEncoder
from tests.indexer.fakes import run_build
from tests.slide_files import cut_here, draw_plane, write_scn, write_slide

HALF = SlideSource(options=TileOptions(mpp=0.5))
TILE = "one.svs#x=512,y=256,mpp=0.5,size=256"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of three slides: the second equals the first, the third is another patient's."""
    root = tmp_path_factory.mktemp("answers")
    first, other = draw_plane(), draw_plane(seed=1)
    write_slide(root / "data/one.svs", first)
    write_scn(root / "data/two.scn", first, mpp=0.5, corner=(512, 256))
    write_slide(root / "data/three.svs", other)
    cases = "path,patient\none.svs,a\ntwo.scn,a\nthree.svs,b\n"
    (root / "cases.csv").write_text(cases)
    with DecodingEncoder(folder=root / "encoder", workers=1) as encoder:
        run_build(
            root / "x.hx", encoder, root / "data", slides=HALF, cut_slides=cut_here,
            manifest=root / "cases.csv",
        )  # fmt: skip
    return root


@pytest.fixture
def index(folder: Path) -> Index:
    return histo_index.open(folder / "x.hx")


def test_neighbours_from_other_slides(index: Index) -> None:
    nearest = index.search([TILE], k=2, exclude_same="slide_id")[0]
    assert nearest[0].image_id == "two.scn#x=1024,y=512,mpp=0.5,size=256"
    assert nearest[0].distance == pytest.approx(0, abs=1e-3)
    other = index.search([TILE], k=3, exclude_same=["slide_id", "patient"])[0]
    assert {neighbour.metadata["slide_id"] for neighbour in other} == {"three.svs"}
    assert index.pair(TILE, nearest[0].image_id).distance == pytest.approx(0, abs=1e-3)


def test_the_montage_shows_the_pixels_of_the_slides(index: Index, tmp_path: Path) -> None:
    found = index.search([TILE], k=3, exclude_same="slide_id")
    index.draw([TILE], found, tmp_path / "m.png")
    with Image.open(tmp_path / "m.png") as image:
        pixels = np.asarray(image)
    drawn = Image.fromarray(draw_plane()[256:512, 512:768])
    drawn.thumbnail((160, 160))
    for left in (16 - 8, 24 + 168 - 8):  # the query, and its first neighbour
        np.testing.assert_array_equal(pixels[8:168, left : left + 160], np.asarray(drawn))


def test_copies_on_two_slides_are_confirmed_on_their_pixels(index: Index) -> None:
    rows = index.duplicates().to_pylist()
    named = {row["image_id"]: (row["kind"], row["pixels"]) for row in rows}
    assert named[TILE.replace("one.svs", "two.scn").replace("512,y=256", "1024,y=512")] == (
        "near", "confirmed"
    )  # fmt: skip
    assert len([row for row in rows if row["pixels"] == "not confirmed on pixels"]) == 0
    dropped = index.search([TILE], k=3, near_duplicates="drop")[0]
    assert "two.scn#x=1024,y=512,mpp=0.5,size=256" not in [near.image_id for near in dropped]


def test_a_slide_that_is_gone_leaves_answers_and_empty_frames(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    index = histo_index.open(folder / "x.hx")
    found = index.search([TILE], k=2)
    (tmp_path / "elsewhere").mkdir()
    index.draw([TILE], found, tmp_path / "m.png", tiles=tmp_path / "elsewhere")
    assert "2 tiles could not be drawn from" in caplog.text
    with pytest.raises(ImageError, match=r"one.svs: cannot be read \(No such file"):
        read_picture(SlideTile(slide=str(tmp_path / "one.svs"), x=0, y=0, mpp=0.5, size=256))


def test_tiles_of_a_slide_that_was_damaged_answer_as_they_were_indexed(
    index: Index, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = (folder / "data/one.svs").read_bytes()
    (tmp_path / "one.svs").write_bytes(data[:1000])
    with DecodingEncoder(folder=folder / "encoder", workers=1) as encoder:
        damaged = Resolver(OpenIndex(folder / "x.hx"), encoder.encode_files, root=tmp_path)
        found = damaged.resolve([TILE, TILE.replace("x=512", "x=513")], prefer_files=True)
    assert list(index)[found.rows[0]] == TILE
    assert found.problems[0] is None
    # Another place of the slide is not in the index.
    assert "one.svs#x=513,y=256,mpp=0.5,size=256: " in str(found.problems[1])
    assert "; the tile as it was indexed answers" in caplog.text


def test_a_heatmap_is_high_where_the_example_was_drawn(index: Index, tmp_path: Path) -> None:
    found = heatmap(
        index, [TILE], slide="two.scn", output=tmp_path / "h.png", geojson=tmp_path / "h.geojson"
    )
    values = dict(zip(found.image_ids, found.values.tolist(), strict=True))
    assert len(values) == 6
    best = max(values, key=lambda name: values[name])
    assert best == "two.scn#x=1024,y=512,mpp=0.5,size=256"
    assert values[best] == pytest.approx(1, abs=1e-3)
    # QuPath's coordinates: from the corner of the bounds.
    features = json.loads((tmp_path / "h.geojson").read_text())["features"]
    tops = {
        shape(f["geometry"]).bounds: f["properties"]["measurements"]["similarity"] for f in features
    }
    assert tops[512.0, 256.0, 768.0, 512.0] == pytest.approx(1, abs=1e-3)
    with Image.open(tmp_path / "h.png") as image:
        pixels = np.asarray(image).astype(int)
    plain = draw_plane().astype(int)[256:512, 512:768]
    # Over the whole bounds at 0.5 µm/px: the brightest tile is tinted yellow, glass is left alone.
    yellow = np.array([253, 231, 36])
    grey = plain @ [[0.299], [0.587], [0.114]]
    tinted = 0.45 * grey + 0.55 * yellow
    assert np.abs(pixels[258:510, 514:766] - tinted[2:-2, 2:-2]).max() <= 2
    assert (pixels[1100:1200, 100:200] == (243, 242, 244)).all()


def test_no_heatmap_is_drawn_over_a_slide_that_was_changed(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "own")
    index = histo_index.open(tmp_path / "own/x.hx")
    slide = tmp_path / "own/data/one.svs"
    # Copied, so with other times: the same content is found by its hash.
    heatmap(index, [TILE], slide=str(slide), output=tmp_path / "h.png")
    write_slide(slide, draw_plane(seed=3))
    with pytest.raises(ImageError, match=r"one.svs: changed since it was indexed, or read by an"):
        heatmap(index, [TILE], slide=str(slide), output=tmp_path / "i.png")
    assert heatmap(index, [TILE], slide="one.svs").values.max() == pytest.approx(1, abs=1e-3)
    slide.unlink()
    with pytest.raises(ImageError, match=r"one.svs: cannot be read \(No such file"):
        heatmap(index, [TILE], slide="one.svs", geojson=tmp_path / "i.geojson")
    assert not list(tmp_path.glob("i.*"))


def test_a_slide_is_compared_with_the_index_and_not_with_the_hash_cache(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(folder, tmp_path / "own")
    index = histo_index.open(tmp_path / "own/x.hx")
    slide, data = tmp_path / "own/data/one.svs", tmp_path / "own/data"
    found = index.search([TILE], k=1, where="slide_id = 'one.svs'")
    write_slide(slide, draw_plane(seed=3))
    # As a build leaves it that is interrupted once all files are hashed.
    tiles = TileList(root=data, table=index.opened.rows.select(["image_id", "path"]))
    hashed = hash_tiles(tiles, lambda done: None, settled_ns=-(10**12))
    write_states(index.opened.folder, hashed.states, before=STATES.empty_table())
    assert find_state(hashed.states, "one.svs") == look_at_slide(slide)
    with pytest.raises(ImageError, match=r"one.svs: changed since it was indexed, or read by an"):
        heatmap(index, [TILE], slide=str(slide), output=tmp_path / "i.png")
    index.draw([TILE], found, tmp_path / "m.png", tiles=data)
    assert "1 tile could not be drawn from" in caplog.text


def test_examples_of_what_is_not_meant_lower_the_value(index: Index, folder: Path) -> None:
    plain = heatmap(index, [TILE], slide="one.svs")
    same = "two.scn#x=1024,y=512,mpp=0.5,size=256"
    both = heatmap(index, [TILE], slide=str(folder / "data/one.svs"), unlike=[same])
    assert plain.image_ids == both.image_ids
    np.testing.assert_allclose(both.values, 0, atol=1e-3)
    with pytest.raises(InputError, match=r"no.svs: no tile of this slide is in"):
        heatmap(index, [TILE], slide="no.svs")


def test_slides_like_a_slide(index: Index) -> None:
    found = find_similar_slides(index.opened, "one.svs", k=5)
    assert [entry.slide for entry in found] == ["two.scn", "three.svs"]
    assert found[0].distance == pytest.approx(0, abs=1e-3)
    assert found[0].mean_distance == pytest.approx(0, abs=1e-3)
    assert found[1].distance > 0.1
    others = find_similar_slides(index.opened, "one.svs", k=5, exclude_same=["patient"])
    assert [entry.slide for entry in others] == ["three.svs"]
    root = index.manifest.tiles_root(index.opened.folder)
    by_path = find_similar_slides(index.opened, str(root / "one.svs"), k=5)
    assert by_path == found
    with pytest.raises(InputError, match=r"x.svs: no slide of .*pass a slide_id, such as one.svs"):
        find_similar_slides(index.opened, "x.svs", k=1)


def test_filters_see_the_columns_of_slide_tiles(index: Index) -> None:
    found = index.search([TILE], k=20, where="tissue > 0.9 and x < 600 and mpp = 0.5")[0]
    assert {neighbour.metadata["x"] for neighbour in found} == {256, 512}


def test_pictures_of_a_slide_that_was_changed_are_not_shown(
    index: Index, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(folder / "data", tmp_path / "data")
    write_slide(tmp_path / "data/three.svs", draw_plane(seed=2))
    found = index.search([TILE], k=3, exclude_same=["slide_id", "patient"])
    same = index.search([TILE], k=3, exclude_same="slide_id", where="slide_id = 'two.scn'")
    for answer, missing in ((found, 3), (same, 0)):
        page = tmp_path / "page.html"
        index.report(answer, page, images=[TILE], tiles=tmp_path / "data")
        says = "of the tiles could not be read, or changed since they were indexed"
        assert (f"{missing} {says}" in page.read_text()) == bool(missing)
    index.draw([TILE], found, tmp_path / "m.png", tiles=tmp_path / "data")
    assert "3 tiles could not be drawn from" in caplog.text
