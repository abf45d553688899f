"""Tissue is found on slides whose tissue is known."""

import numpy as np
import pytest
from PIL import Image

from histo_index.errors import InputError
from histo_index.slides.tissue.mask import ENTROPY, NONE, Mask, find_tissue
from histo_index.slides.tissue.outlines import outline, shares
from histo_index.slides.tissue.sharpness import measure_sharpness
from tests.slide_files import GLASS, Pixels, block, drawn_tissue, shrink

MPP = 8.0


@pytest.fixture(scope="module")
def overview(plane: Pixels) -> Pixels:
    return shrink(plane, 16).copy()


def truth() -> Mask:
    return drawn_tissue()[8::16, 8::16]


def iou(one: Mask, other: Mask) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_tissue_is_found_where_it_was_drawn(overview: Pixels) -> None:
    found = find_tissue(overview, MPP)
    assert iou(found.tissue, truth()) > 0.95
    assert not found.pen.any()
    assert found.problems == ()


def test_pale_tissue_is_found_by_entropy_and_mentioned(overview: Pixels) -> None:
    glass = np.array(GLASS)
    tissue = overview.astype(float)
    # Grey tissue: no saturation to see.
    grey = tissue.mean(axis=2, keepdims=True)
    pale = overview.copy()
    pale[:, 32:] = (glass + 0.5 * (grey - glass.mean()))[:, 32:].clip(0, 255)
    by_colour = find_tissue(pale, MPP)
    assert by_colour.problems[0].endswith("look at the preview, or pass --tissue entropy")
    assert iou(find_tissue(pale, MPP, method=ENTROPY).tissue, truth()) > 0.8
    assert iou(by_colour.tissue, truth()) < 0.6


@pytest.mark.parametrize(
    "ink", [(20, 130, 60), (30, 60, 200), (30, 30, 34), (220, 20, 30)], ids=str
)
def test_pen_is_no_tissue(overview: Pixels, ink: tuple[int, int, int]) -> None:
    marked = overview.copy()
    marked[2:12, 10:80] = ink
    found = find_tissue(marked, MPP)
    assert found.pen[2:12, 10:80].all()
    assert not found.tissue[:14].any()
    assert iou(found.tissue, truth()) > 0.93


def test_black_padding_is_no_tissue(overview: Pixels) -> None:
    padded = overview.copy()
    padded[:10], padded[:, -12:] = 0, 0
    assert iou(find_tissue(padded, MPP).tissue, truth()) > 0.93


def test_dust_is_no_tissue(overview: Pixels) -> None:
    dusty = overview.copy()
    dusty[2:10, 2:10] = shrink(block("stroma", 5), 4)[:8, :8]  # 64 µm a side
    found = find_tissue(dusty, MPP)
    assert not found.tissue[:12, :12].any()
    assert iou(found.tissue, truth()) > 0.95


def test_spots_of_the_colour_of_ink_are_no_pen(overview: Pixels) -> None:
    spotted = overview.copy()
    for at in range(20, 32, 5):
        spotted[at : at + 3, at : at + 3] = (20, 130, 60)  # 24 µm a side, no stroke
    assert not find_tissue(spotted, MPP).pen.any()


def test_a_corner_of_glass_is_no_hole() -> None:
    full = np.tile(shrink(block("stroma", 5), 4), (3, 3, 1))
    lumen = slice(
        20, 36
    )  # 128 µm a side: as large as a tile, smaller than the holes that are filled
    full[:16, :16] = GLASS
    full[lumen, lumen] = GLASS
    found = find_tissue(full, MPP)
    assert not found.tissue[:12, :12].any()
    assert found.tissue[lumen, lumen].all()


def test_empty_glass_and_a_full_slide_are_mentioned() -> None:
    noise = np.random.default_rng(0).normal(0, 2, (80, 96, 3))
    glass = (np.array(GLASS) + noise).clip(0, 255).astype(np.uint8)
    empty = find_tissue(glass, MPP)
    assert empty.tissue.sum() == 0
    assert empty.problems[0].startswith("no tissue found")
    full = np.tile(shrink(block("stroma", 5), 4), (3, 3, 1))
    found = find_tissue(full, MPP)
    assert found.tissue.mean() > 0.98
    assert found.problems[0].endswith("% of the slide counts as tissue: look at the preview")


def test_without_a_method_everything_counts(overview: Pixels) -> None:
    assert find_tissue(overview, MPP, method=NONE).tissue.all()
    with pytest.raises(InputError, match="unknown tissue method hue; expected otsu"):
        find_tissue(overview, MPP, method="hue")


def test_outlines_have_holes() -> None:
    mask = np.zeros((40, 50), bool)
    mask[5:30, 10:40] = True
    mask[10:20, 15:25] = False
    ((outer, hole),) = outline(mask)
    assert outer.min(axis=0).tolist() == [10.25, 5.25]
    assert outer.max(axis=0).tolist() == [39.75, 29.75]
    assert hole.min(axis=0).tolist() == [14.75, 9.75]


def test_shares_are_exact_for_any_square() -> None:
    mask = np.zeros((40, 50), bool)
    mask[10:20, 10:20] = True
    lefts, tops = np.array([10.0, 5.0, 12.5, 0.0, 45.0]), np.array([10.0, 10.0, 12.5, 0.0, 35.0])
    # Of squares of 10: all, half, 7.5² of 10², none, none.
    np.testing.assert_allclose(shares(mask, lefts, tops, 10.0), [1, 0.5, 0.5625, 0, 0], atol=1e-9)


def test_a_blurred_tile_is_less_sharp() -> None:
    sharp = block("glands", 1)
    small = Image.fromarray(sharp).resize((32, 32), Image.Resampling.BOX)
    blurred = np.asarray(small.resize((256, 256), Image.Resampling.BICUBIC))
    assert measure_sharpness(blurred) < 0.1 * measure_sharpness(sharp)
    assert measure_sharpness(np.full((64, 64, 3), 90, np.uint8)) == 0
