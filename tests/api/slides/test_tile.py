"""`tile` from slides to manifest, preview and GeoJSON, through decoder processes."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from PIL import Image
from shapely.geometry import shape

from histo_index.api.slides.inputs import TileInputs
from histo_index.api.slides.open import open as open_slide
from histo_index.api.slides.slide_mpp import read_slide_mpp
from histo_index.api.slides.tile import TileOutputs, tile
from histo_index.errors import ImageError, InputError
from histo_index.indexer.inputs.tables import read_table
from histo_index.slides.reading.identity import parse_tile
from histo_index.slides.tiling.options import TileOptions
from tests.slide_files import BLOCK, PLAN, Pixels, draw_plane, write_scn, write_slide

Cut = tuple[Path, list[dict[str, Any]]]

OPTIONS = TileOptions(mpp=0.5, sharpness=True)


@pytest.fixture(scope="module")
def plane() -> Pixels:
    return draw_plane()


def rectangle(left: int, top: int, right: int, bottom: int, name: str) -> dict[str, Any]:
    ring = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"objectType": "annotation", "classification": {"name": name}},
    }


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory, plane: Pixels) -> Cut:
    """Two good slides, one with bounds, and two that cannot be used, all tiled at once."""
    root = tmp_path_factory.mktemp("cut")
    write_slide(root / "slides/ä/one.tiff", plane)
    write_scn(root / "slides/two.scn", plane, mpp=0.5, corner=(512, 256))
    (root / "slides/broken.svs").write_bytes((root / "slides/two.scn").read_bytes()[:9000])
    (root / "slides/.hidden.svs").write_bytes(b"")
    (root / "notes").mkdir()
    classes = [rectangle(256, 256, 512, 768, "tumour"), rectangle(512, 256, 700, 512, "stroma")]
    data = json.dumps({"type": "FeatureCollection", "features": classes}).encode()
    (root / "notes/two.geojson.gz").write_bytes(gzip.compress(data))
    report = tile(
        root / "slides",
        root / "tiles.parquet",
        OPTIONS,
        inputs=TileInputs(annotations=root / "notes"),
        outputs=TileOutputs(
            preview=root / "previews", geojson=root / "geojson", save_tiles=root / "pixels"
        ),
    )
    assert {Path(name).name for name in report.rejected} == {"broken.svs"}
    assert [cut.tiles for cut in report.slides] == [6, 6]
    return root, read_table(root / "tiles.parquet").to_pylist()


def test_the_manifest_lists_the_tiles_that_hold_tissue(
    cut: Cut,
) -> None:
    _, rows = cut
    one = [row for row in rows if row["slide_id"] == "slides/ä/one.tiff"]
    assert [(row["x"], row["y"]) for row in one] == [(c * BLOCK, r * BLOCK) for _, c, r in PLAN]
    assert one[0]["path"] == "slides/ä/one.tiff#x=256,y=256,mpp=0.5,size=256"
    assert {row["mpp"] for row in rows} == {0.5}
    assert one[0]["read_mpp"] == pytest.approx(0.5)
    assert one[0]["reader"].startswith("OpenSlide 4")
    assert all(row["tissue"] > 0.95 and row["pen"] == 0 for row in rows)
    # Coordinates are those of the whole plane.
    two = [row for row in rows if row["slide_id"] == "slides/two.scn"]
    assert [(row["x"] - 512, row["y"] - 256) for row in two] == [(r["x"], r["y"]) for r in one]
    assert [row["sharpness"] for row in two] == pytest.approx([row["sharpness"] for row in one])


def test_annotations_become_labels(cut: Cut) -> None:
    _, rows = cut
    labels = {(r["slide_id"], r["x"], r["y"]): r["label"] for r in rows}
    two = {k[1:]: v for k, v in labels.items() if k[0] == "slides/two.scn"}
    # As QuPath writes them: from the corner of the bounds.
    assert two[512 + 256, 256 + 256] == two[512 + 256, 256 + 512] == "tumour"
    assert two[512 + 512, 256 + 256] == "stroma"
    assert two[512 + 512, 256 + 512] is None
    assert {v for k, v in labels.items() if k[0] != "slides/two.scn"} == {None}


def test_saved_tiles_hold_the_pixels_that_were_drawn(cut: Cut, plane: Pixels) -> None:
    root, rows = cut
    for row in rows:
        left, top = (512, 256) if row["slide_id"].endswith("scn") else (0, 0)
        x, y = row["x"] - left, row["y"] - top
        with Image.open(root / row["file"]) as image:
            np.testing.assert_array_equal(np.asarray(image), plane[y : y + 256, x : x + 256])


@pytest.mark.parametrize("name", ["slides/ä/one.tiff", "slides/two.scn"])
def test_geojson_is_valid_and_lies_on_the_tissue(cut: Cut, name: str) -> None:
    root, _ = cut
    (path,) = (root / "geojson").rglob(f"{Path(name).name}.geojson")
    features = json.loads(path.read_text())["features"]
    shapes = {"annotation": [], "tile": []}  # type: dict[str, list[Any]]
    for feature in features:
        polygon = shape(feature["geometry"])
        assert polygon.is_valid
        shapes[feature["properties"]["objectType"]].append(polygon)
    # Drawn truth, counted from the corner of the bounds.
    truth = shapely.box(256, 256, 1024, 768)
    tissue = shapely.union_all(shapes["annotation"])
    assert tissue.intersection(truth).area / tissue.union(truth).area > 0.95
    assert shapely.union_all(shapes["tile"]).equals(truth)
    assert set(features[-1]["properties"]["measurements"]) == {"tissue", "pen", "sharpness"}


def test_the_preview_shows_the_slide(cut: Cut) -> None:
    root, _ = cut
    (path,) = (root / "previews").rglob("one.tiff.png")
    with Image.open(path) as image:
        pixels = np.asarray(image)
    assert pixels.shape == (1280, 1536, 3)
    is_line = (pixels == (40, 60, 200)).all(axis=2)
    assert is_line[256, 300:500].mean() > 0.9  # the edge of the first tile
    is_outline = (pixels == (0, 128, 0)).all(axis=2)
    assert is_outline[100:240].sum() == 0
    assert is_outline[240:280].any()


@pytest.mark.parametrize("white", [1, 255])
def test_a_mask_may_be_written_as_ones(white: int, tmp_path: Path, plane: Pixels) -> None:
    write_slide(tmp_path / "one.tiff", plane)
    (tmp_path / "masks").mkdir()
    drawn = np.zeros((len(plane) // 16, plane.shape[1] // 16), np.uint8)
    drawn[16:32, 16:32] = white  # the block from 256, 256
    Image.fromarray(drawn).save(tmp_path / "masks/one.png")
    report = tile(
        tmp_path / "one.tiff",
        tmp_path / "t.parquet",
        TileOptions(mpp=0.5),
        inputs=TileInputs(masks=tmp_path / "masks"),
    )
    assert report.tiles == 1
    (row,) = read_table(tmp_path / "t.parquet").to_pylist()
    assert (row["x"], row["y"], row["tissue"]) == (256, 256, 1.0)


def test_a_given_mask_replaces_the_method(tmp_path: Path, plane: Pixels) -> None:
    path = write_scn(tmp_path / "two.scn", plane, mpp=0.5, corner=(512, 256))
    drawn = np.zeros((1280 + 512, 1536 + 1024), np.uint8)
    drawn[256 + 768 : 256 + 1024, 512 + 1024 : 512 + 1536] = 255
    (tmp_path / "masks").mkdir()
    Image.fromarray(drawn).resize((256, 179)).save(tmp_path / "masks/two.png")
    report = tile(
        path, tmp_path / "t.parquet", TileOptions(mpp=0.5, min_tissue=0.8),
        inputs=TileInputs(masks=tmp_path / "masks"),
    )  # fmt: skip
    rows = read_table(report.manifest).to_pylist()
    assert [(row["x"], row["y"]) for row in rows] == [(1536, 1024), (1792, 1024)]
    with pytest.raises(InputError, match="no mask for"):
        tile(path, tmp_path / "t.parquet", OPTIONS, inputs=TileInputs(masks=tmp_path))


def test_a_scale_from_the_user_is_part_of_the_name(tmp_path: Path, plane: Pixels) -> None:
    write_slide(tmp_path / "s.tiff", plane)
    (tmp_path / "mpp.csv").write_text("slide,mpp\ns.tiff,0.25\n")
    known = read_slide_mpp(tmp_path / "mpp.csv")
    report = tile(
        tmp_path / "s.tiff",
        tmp_path / "t.parquet",
        TileOptions(mpp=0.5, min_tissue=0.2),
        inputs=TileInputs(slide_mpp=known),
    )
    first = read_table(report.manifest).to_pylist()[0]
    assert first["path"].endswith(",mpp=0.5,size=256,slide_mpp=0.25")
    named = parse_tile(tmp_path / first["path"])
    assert named is not None
    assert named.slide_mpp == 0.25


@pytest.mark.parametrize("text", ["slide,mpp\na,0\n", "slide,mpp\na,nan\n", "slide,mpp\na,20x\n"])
def test_a_scale_that_is_no_number_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "mpp.csv").write_text(text)
    with pytest.raises(InputError, match=r"of a; expected 0.02 to 20 microns per pixel"):
        read_slide_mpp(tmp_path / "mpp.csv")


def test_a_scale_that_contradicts_the_file_or_names_no_slide_is_mentioned(
    tmp_path: Path, plane: Pixels, caplog: pytest.LogCaptureFixture
) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_slide(tmp_path / folder / "s.tiff", plane)
    known = {"s": 0.25, "t.svs": 0.5, "u.svs": 0.5}
    report = tile(tmp_path, tmp_path / "t.parquet", OPTIONS, inputs=TileInputs(slide_mpp=known))
    first, second = tmp_path / "a/s.tiff", tmp_path / "b/s.tiff"
    assert [record.message for record in caplog.records] == [
        "--slide-mpp: t.svs and 1 more: no slide of this name here",
        f"--slide-mpp: s stands for 2 slides, {first} and {second}; name them by their paths",
    ]
    line = "--slide-mpp says 0.25 µm/px, the file 0.5: the file's is not used"
    assert [str(cut.problems).count(line) for cut in report.slides] == [1, 1]
    caplog.clear()
    known = {str(first): 0.51, str(second): 0.5}
    report = tile(tmp_path, tmp_path / "t.parquet", OPTIONS, inputs=TileInputs(slide_mpp=known))
    assert [cut.problems for cut in report.slides] == [(), ()]
    assert not caplog.records


@pytest.mark.parametrize("kind", ["masks", "annotations"])
def test_a_file_for_two_slides_of_one_name_is_refused(
    kind: str, tmp_path: Path, plane: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    suffix = ".png" if kind == "masks" else ".geojson"
    for folder in ("a", "b"):
        Path(folder).mkdir()
        write_slide(Path(folder, "s.tiff"), plane)
    Path("given").mkdir()
    given = Path("given")
    inputs = TileInputs(masks=given) if kind == "masks" else TileInputs(annotations=given)

    def write(place: Path, left: int) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        if kind == "masks":
            drawn = np.zeros((80, 96), np.uint8)
            drawn[16:32, left // 16 : left // 16 + 16] = 255
            Image.fromarray(drawn).save(place)
        else:
            classes = [rectangle(left, 256, left + 256, 512, str(left))]
            place.write_text(json.dumps(classes))

    write(Path(f"given/s{suffix}"), 256)
    expected = rf"given/s{suffix}: stands for two slides, a/s.tiff and b/s.tiff; put one for each "
    with pytest.raises(InputError, match=f"^{expected}below .*, as given/b/s.tiff{suffix}$"):
        tile([Path("a"), Path("b")], "t.parquet", OPTIONS, inputs=inputs)
    write(Path(f"given/b/s.tiff{suffix}"), 512)
    tile([Path("a"), Path("b")], "t.parquet", OPTIONS, inputs=inputs)
    rows = read_table(Path("t.parquet")).to_pylist()
    if kind == "masks":
        assert [(row["slide_id"], row["x"]) for row in rows] == [
            ("a/s.tiff", 256),
            ("b/s.tiff", 512),
        ]
    else:
        assert {(row["slide_id"], row["label"]) for row in rows if row["label"]} == {
            ("a/s.tiff", "256"), ("b/s.tiff", "512"),
        }  # fmt: skip


def test_a_folder_of_annotations_that_is_missing_is_refused(tmp_path: Path, plane: Pixels) -> None:
    write_slide(tmp_path / "s.tiff", plane)
    inputs = TileInputs(annotations=tmp_path / "absent")
    with pytest.raises(InputError, match=r"absent: no such folder; pass one of QuPath GeoJSON$"):
        tile(tmp_path / "s.tiff", tmp_path / "t.parquet", OPTIONS, inputs=inputs)


def test_no_usable_slide_writes_no_manifest(tmp_path: Path) -> None:
    (tmp_path / "a.svs").write_bytes(b"no slide")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"a.svs: not a slide"):
        tile(tmp_path, tmp_path / "t.parquet", OPTIONS)
    with pytest.raises(InputError, match="no slides found"):
        tile(tmp_path / "empty", tmp_path / "t.parquet", OPTIONS)
    assert not (tmp_path / "t.parquet").exists()


def test_python_opens_and_reads_a_slide(tmp_path: Path, plane: Pixels) -> None:
    slide = open_slide(write_slide(tmp_path / "s.tiff", plane))
    assert (slide.info.width, slide.info.height) == (1536, 1280)
    np.testing.assert_array_equal(slide.read(300, 256, mpp=0.5, size=200), plane[256:456, 300:500])
    with pytest.raises(InputError, match="no such file"):
        open_slide(tmp_path / "none.svs")
    (tmp_path / "b.svs").write_bytes(b"0")
    with pytest.raises(ImageError, match="not a slide"):
        open_slide(tmp_path / "b.svs")
