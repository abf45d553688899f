"""JPEG tiles that are decoded without OpenSlide's drawing have the pixels that it draws."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from histo_index.slides.reading.jpeg_levels import JpegLevels
from histo_index.slides.reading.openslide_reader import open_by_openslide
from histo_index.slides.reading.reader import Pixels, Slide, SlideFile
from tests.slide_files import SlideLook, write_slide

# Level, x, y, width, height: within a tile, over several, a whole level, and over the edge.
REGIONS = (
    (0, 3, 5, 40, 60),
    (0, 200, 100, 700, 900),
    (1, 0, 0, 384, 320),
    (0, 1400, 1200, 300, 200),
    (1, -7, 3, 50, 50),
)


def jpeg(**options: Any) -> SlideLook:
    return SlideLook(compression="jpeg", options=options)


@contextmanager
def opened(path: Path, drawn_px: int) -> Iterator[Slide]:
    """Open a slide whose tiles are decoded after so many pixels that OpenSlide drew."""
    slide = open_by_openslide(path, SlideFile.of(path), drawn_px=drawn_px)
    assert slide is not None
    with closing(slide):
        yield slide


@contextmanager
def levels_of(path: Path) -> Iterator[JpegLevels]:
    with opened(path, 2**40) as slide:
        levels = JpegLevels(path, slide.info.levels, slide.read)
        with closing(levels):
            yield levels


@pytest.mark.parametrize("options", [{}, {"photometric": "ycbcr", "subsampling": (1, 1)}])
def test_regions_have_the_pixels_that_openslide_draws(
    plane: Pixels, tmp_path: Path, options: dict[str, Any]
) -> None:
    path = write_slide(tmp_path / "s.tiff", plane, jpeg(**options))
    with opened(path, 0) as fast, opened(path, 2**40) as slow, levels_of(path) as levels:
        for level, x, y, width, height in REGIONS:
            found = fast.read(level, x, y, (width, height))
            assert np.array_equal(found, slow.read(level, x, y, (width, height)))
        # The last two leave the level, and are drawn.
        answers = [levels.read(n, x, y, (w, h)) for n, x, y, w, h in REGIONS]
        assert [found is not None for found in answers] == [True, True, True, False, False]


def test_other_layouts_are_left_to_openslide(plane: Pixels, tmp_path: Path) -> None:
    path = write_slide(tmp_path / "lossless.tiff", plane)
    with levels_of(path) as levels:
        assert levels.read(0, 0, 0, (100, 100)) is None
    # A level of odd size is shifted by a part of a pixel.
    path = write_slide(
        tmp_path / "odd.tiff", plane[:1279], SlideLook(compression="jpeg", downsamples=(1, 4))
    )
    with levels_of(path) as levels:
        assert levels.read(1, 1, 1, (100, 100)) is None
        assert levels.read(0, 1, 1, (100, 100)) is not None


def test_a_level_that_openslide_reads_otherwise_is_left_to_it(
    plane: Pixels, tmp_path: Path
) -> None:
    path = write_slide(tmp_path / "s.tiff", plane, jpeg())
    with opened(path, 2**40) as slide:

        def draw(level: int, x: int, y: int, size: tuple[int, int]) -> Pixels:
            # One step of one number of one pixel.
            pixels = slide.read(level, x, y, size)
            pixels[-1, -1, -1] ^= 1
            return pixels

        with closing(JpegLevels(path, slide.info.levels, draw)) as levels:
            assert levels.read(0, 0, 0, (100, 100)) is None


def test_a_damaged_tile_is_left_to_openslide(plane: Pixels, tmp_path: Path) -> None:
    path = write_slide(tmp_path / "s.tiff", plane, jpeg())
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        start, count = page.dataoffsets[0], page.databytecounts[0]
    data = bytearray(path.read_bytes())
    data[start : start + count] = bytes(count)
    path.write_bytes(data)
    with levels_of(path) as levels:
        assert levels.read(0, 0, 0, (100, 100)) is None
        assert levels.read(0, 256, 256, (100, 100)) is not None


def test_a_tile_that_says_it_is_larger_is_not_unpacked(plane: Pixels, tmp_path: Path) -> None:
    path = write_slide(tmp_path / "s.tiff", plane, jpeg())
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        start, count = page.dataoffsets[0], page.databytecounts[0]
    data = path.read_bytes()
    frame = data.index(b"\xff\xc0", start, start + count)
    # Height and width of the frame: 65,500 pixels each.
    changed = data[: frame + 5] + b"\xff\xdc\xff\xdc" + data[frame + 9 :]
    path.write_bytes(changed)
    with levels_of(path) as levels:
        assert levels.read(0, 0, 0, (100, 100)) is None
