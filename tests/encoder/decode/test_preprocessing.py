"""Fitting a tile: Pillow's plain resize, the centre, and any shape however extreme."""

import numpy as np
import pytest
from PIL import Image

from histo_index.arrays import Pixels
from histo_index.demo.tiles import render_tile
from histo_index.encoder.decode.preprocessing import Preprocessing, describe_fit, fit_tile
from histo_index.errors import IndexFormatError

SPEC = Preprocessing(resize_px=64, crop_px=64)


def resized(pixels: Pixels, width: int, height: int) -> Pixels:
    image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image)


def ramp(height: int, width: int) -> Pixels:
    """Every column another level, and nothing else."""
    levels = (np.arange(width) % 256).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(levels[None, :, None], (height, width, 3)))


@pytest.mark.parametrize(
    ("height", "width", "note"),
    [
        (1, 1, "enlarged from 1 to 64 px"),
        (7, 7, "enlarged from 7 to 64 px"),
        (8, 32, None),
        (8, 33, "only the middle 8 of 33 px are encoded"),
        (5000, 1, "only the middle 1 of 5,000 px are encoded; enlarged from 1 to 64 px"),
        (2000, 3000, None),
    ],
)
def test_tiles_of_which_an_embedding_says_little_are_noted(
    height: int, width: int, note: str | None
) -> None:
    assert describe_fit(height, width, SPEC) == note


def test_a_tile_of_the_right_size_stays_as_it_is() -> None:
    tile = render_tile("glands", seed=1, size_px=64)
    assert fit_tile(tile, SPEC) is tile


@pytest.mark.parametrize("side", [32, 63, 65, 96, 150, 256])
def test_a_square_tile_is_resized_as_pillow_does(side: int) -> None:
    tile = render_tile("stroma", seed=2, size_px=side)
    assert np.array_equal(fit_tile(tile, SPEC), resized(tile, 64, 64))


def test_the_resize_is_antialiased() -> None:
    lines = np.zeros((256, 256, 3), np.uint8)
    lines[::4] = 252  # one line of four: a quarter of the light; none may be lost
    assert (fit_tile(lines, SPEC)[1:-1] == 63).all()


def test_the_centre_of_a_landscape_tile_is_cut() -> None:
    fitted = fit_tile(ramp(64, 200), SPEC)
    assert fitted.shape == (64, 64, 3)
    assert np.array_equal(fitted, ramp(64, 200)[:, 68:132])


def test_the_centre_of_a_portrait_tile_is_cut() -> None:
    tile = np.ascontiguousarray(ramp(64, 200).transpose(1, 0, 2))
    assert np.array_equal(fit_tile(tile, SPEC), tile[68:132])


def test_resizing_then_cutting_gives_the_same_pixels() -> None:
    spec = Preprocessing(resize_px=80, crop_px=64)
    tile = render_tile("muscle", seed=3, size_px=160)
    assert np.array_equal(fit_tile(tile, spec), resized(tile, 80, 80)[8:72, 8:72])


def test_cutting_alone_changes_no_pixel() -> None:
    spec = Preprocessing(resize_px=80, crop_px=64)
    tile = render_tile("muscle", seed=3, size_px=80)
    assert np.array_equal(fit_tile(tile, spec), tile[8:72, 8:72])


@pytest.mark.parametrize("shape", [(1, 5000), (5000, 1), (1, 1), (2, 1), (3, 100_000), (64, 65)])
def test_any_shape_fits(shape: tuple[int, int]) -> None:
    fitted = fit_tile(np.full((*shape, 3), (10, 20, 30), np.uint8), SPEC)
    assert fitted.shape == (64, 64, 3)
    assert fitted.dtype == np.uint8
    assert (fitted == (10, 20, 30)).all()


def test_of_an_extreme_strip_the_middle_is_seen() -> None:
    strip = np.zeros((1, 5001, 3), np.uint8)
    strip[0, 2500] = 200
    # Half a 64th away from the centre of the middle pixel: 200 * (1 - 1/128).
    assert int(fit_tile(strip, SPEC)[32, 32, 0]) == 198


@pytest.mark.parametrize("side", [16, 73, 224])
def test_rounding_never_moves_a_crop_out_of_the_image(side: int) -> None:
    spec = Preprocessing(resize_px=side, crop_px=side)
    # At 224 px the box of the sides 55, 95 and 97 ends 1e-14 outside; 16 is exact.
    for length in range(1, 130):
        for shape in ((length, length), (length, length + 1), (length + 1, length)):
            assert (fit_tile(np.full((*shape, 3), 9, np.uint8), spec) == 9).all()


@pytest.mark.parametrize(
    "settings",
    [
        {"resize_px": 63, "crop_px": 64},
        {"resize_px": 64, "crop_px": 0},
        {"resize_px": 4097, "crop_px": 64},
        {"resize_px": 64.0, "crop_px": 64},
        {"mean": (0.5, 0.5)},
        {"std": (0.5, 0.5, 0.0)},
        {"std": (0.5, 0.5, float("nan"))},
        {"mean": (0.5, 0.5, float("inf"))},
    ],
)
def test_settings_that_make_no_input_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(IndexFormatError, match="is not usable; expected whole numbers"):
        Preprocessing(**settings)  # type: ignore[arg-type]


def test_lists_and_whole_numbers_mean_the_same_as_floats() -> None:
    assert Preprocessing(mean=[0, 0, 0], std=[1, 1, 1]) == Preprocessing(  # type: ignore[arg-type]
        mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)
    )
    assert repr(Preprocessing(mean=(0, 0, 0)).mean) == "(0.0, 0.0, 0.0)"
