"""Squares of the pyramid hold the pixels of the slide at their level and place."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import openslide
import pytest

from histo_index.errors import ImageError
from histo_index.slides.reading.info import SlideLevel
from histo_index.slides.reading.reader import Slide, SlideFile, open_slide
from histo_index.slides.viewing.pyramid import list_levels
from histo_index.slides.viewing.square import read_square
from tests.slide_files import Pixels, shrink


@pytest.fixture
def opened(slide: Path) -> Iterator[Slide]:
    with closing(open_slide(SlideFile.of(slide))) as found:
        yield found


def test_levels_halve_until_one_square_holds_the_slide(opened: Slide) -> None:
    levels = list_levels(opened.info)
    assert [(one.downsample, one.width, one.height) for one in levels] == [
        (1, 1536, 1280), (2, 768, 640), (4, 384, 320),
    ]  # fmt: skip
    assert [(one.columns, one.rows) for one in levels] == [(3, 3), (2, 2), (1, 1)]
    assert [one.source for one in levels] == [0, 0, 1]


def test_a_slide_without_coarse_levels_has_no_square_that_reads_all_of_it(opened: Slide) -> None:
    plane = SlideLevel(width=100_000, height=80_000, downsample=1.0)
    levels = list_levels(replace(opened.info, levels=(plane,)))
    assert [one.downsample for one in levels] == [1, 2, 4, 8]
    assert (levels[3].width, levels[3].height) == (12_500, 10_000)


def test_squares_are_what_openslide_reads_there(opened: Slide, slide: Path) -> None:
    with openslide.OpenSlide(slide) as reference:
        for level, column, row, size in ((0, 1, 0, (512, 512)), (0, 2, 2, (512, 256))):
            place = column * 512, row * 512
            expected = np.asarray(reference.read_region(place, 0, size).convert("RGB"))
            np.testing.assert_array_equal(read_square(opened, level, column, row), expected)
        expected = np.asarray(reference.read_region((0, 0), 1, (384, 320)).convert("RGB"))
    np.testing.assert_array_equal(read_square(opened, 2, 0, 0), expected)


def test_a_level_between_is_the_mean_of_the_finer_one(opened: Slide, plane: Pixels) -> None:
    halved = shrink(plane, 2)
    np.testing.assert_array_equal(read_square(opened, 1, 0, 1), halved[512:640, :512])
    np.testing.assert_array_equal(read_square(opened, 1, 1, 0), halved[:512, 512:768])


@pytest.mark.parametrize(
    "place", [(3, 0, 0), (-1, 0, 0), (0, 3, 0), (0, 0, 3), (0, -1, 0), (2, 1, 0)]
)
def test_there_is_no_square_beyond_the_slide(opened: Slide, place: tuple[int, int, int]) -> None:
    with pytest.raises(ImageError, match=r"no square -?\d, -?\d at level -?\d"):
        read_square(opened, *place)
