"""Slides of several files: DICOM folders, and MIRAX files with their folder."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from histo_index.indexer.hashing.files import slide_marks
from histo_index.indexer.reader import OpenIndex
from histo_index.slides.reading.identity import SlideTile
from histo_index.slides.reading.info import Scale
from histo_index.slides.reading.reader import SlideFile, open_slide
from histo_index.slides.reading.regions import read_tiles
from histo_index.slides.tiling.find import find_slides
from histo_index.slides.tiling.options import SlideSource, TileOptions
from tests.decoding import DecodingEncoder
from tests.indexer.fakes import run_build
from tests.slide_files import Pixels, cut_here, draw_plane
from tests.slide_formats import write_dicom, write_mirax

HALF = SlideSource(options=TileOptions(mpp=0.5))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("formats") / "data"
    write_dicom(root / "dicom", draw_plane(), mpp=0.5, downsamples=(1, 4))
    write_mirax(root / "mirax.mrxs", draw_plane(seed=1), mpp=0.5)
    return root


@pytest.mark.parametrize(
    ("name", "vendor", "seed", "levels"),
    [("dicom", "dicom", 0, [1.0, 4.0]), ("mirax.mrxs", "mirax", 1, [1.0])],
)
def test_pixels_scale_and_levels(
    folder: Path, name: str, vendor: str, seed: int, levels: list[float]
) -> None:
    plane: Pixels = draw_plane(seed=seed)
    with closing(open_slide(SlideFile.of(folder / name))) as slide:
        assert slide.info.vendor == vendor
        assert slide.info.scale == Scale(x=0.5, y=0.5, origin="the file (openslide.mpp)")
        assert [level.downsample for level in slide.info.levels] == levels
        tile = SlideTile(slide=name, x=300, y=700, mpp=0.5, size=256)
        (pixels,) = read_tiles(slide, [tile])
    np.testing.assert_array_equal(pixels, plane[700:956, 300:556])


def test_each_is_one_slide(folder: Path) -> None:
    assert find_slides([folder]) == [folder / "dicom", folder / "mirax.mrxs"]


@pytest.mark.parametrize(
    ("name", "part"), [("dicom", "dicom/1.dcm"), ("mirax.mrxs", "mirax/Data0000.dat")]
)
def test_a_change_of_any_part_is_a_change_of_the_slide(folder: Path, name: str, part: str) -> None:
    before = slide_marks(folder / name)
    assert slide_marks(folder / name) == before
    (folder / part).write_bytes((folder / part).read_bytes())
    assert slide_marks(folder / name) != before


def build(folder: Path, sources: list[Path]) -> list[str]:
    """Build an index in a folder; return its image ids."""
    with DecodingEncoder(folder=folder / "encoder", workers=1) as encoder:
        built = run_build(folder / "x.hx", encoder, *sources, slides=HALF, cut_slides=cut_here)
    found: list[str] = OpenIndex(built.index).rows["image_id"].to_pylist()
    return found


@pytest.mark.parametrize("is_named", [False, True])
def test_tiles_of_both_are_indexed(folder: Path, tmp_path: Path, is_named: bool) -> None:
    sources = [folder / "dicom", folder / "mirax.mrxs"] if is_named else [folder]
    slides = [image_id.partition("#")[0] for image_id in build(tmp_path, sources)]
    assert slides == ["dicom"] * 6 + ["mirax.mrxs"] * 6


def test_a_dicom_folder_alone_is_a_source(folder: Path, tmp_path: Path) -> None:
    assert [name.partition("#")[0] for name in build(tmp_path, [folder / "dicom"])] == ["dicom"] * 6
