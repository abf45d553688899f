"""Pixels computed by hand: each kind of image means one thing, and no value is clipped."""

import struct
from typing import Any, Final

import numpy as np
import pytest
from PIL import Image

from histo_index.encoder.decode.image_file import decode
from histo_index.errors import ImageError
from tests.encoder.files import (
    STORED,
    UPRIGHT,
    grey_tiff,
    painted,
    png_file,
    tiff_file,
    twelve_bit_rows,
    with_exif,
    written,
)

WHITE: Final = [255, 255, 255]
BLACK: Final = [0, 0, 0]


def colours(data: bytes) -> Any:
    """The pixels of a file as nested lists [H][W][3]."""
    return decode(data, max_pixels=1000, name="x")[0].tolist()


def greys(data: bytes) -> list[int]:
    """The pixels of a greyscale file, row by row; all three channels must agree."""
    pixels = decode(data, max_pixels=1000, name="x")[0]
    assert (pixels == pixels[:, :, :1]).all()
    return [int(value) for value in pixels[:, :, 0].ravel()]


def refusal(data: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        decode(data, max_pixels=1000, name="x")
    return str(caught.value).removeprefix("x: ")


def test_1_bit_becomes_black_and_white() -> None:
    image = Image.new("1", (2, 1))
    image.putpixel((1, 0), 1)
    for data in (written(image, "PNG"), written(image, "TIFF"), written(image, "BMP")):
        assert colours(data) == [[BLACK, WHITE]]


def test_8_bit_grey_is_repeated_in_each_channel() -> None:
    image = Image.fromarray(np.array([[0, 7], [200, 255]], np.uint8))
    for data in (written(image, "PNG"), written(image, "TIFF"), written(image, "BMP")):
        assert colours(data) == [[BLACK, [7] * 3], [[200] * 3, WHITE]]


def test_16_bit_grey_is_scaled_and_not_clipped() -> None:
    image = Image.fromarray(np.array([[0, 257, 32768, 65535, 128, 129]], np.uint16))
    assert greys(written(image, "PNG")) == [0, 1, 128, 255, 0, 1]
    assert greys(written(image, "TIFF")) == [0, 1, 128, 255, 0, 1]
    assert greys(written(image, "TIFF", compression="tiff_lzw")) == [0, 1, 128, 255, 0, 1]


def test_every_16_bit_level_is_rounded_to_the_nearest_8_bit_level() -> None:
    levels = np.arange(65536).reshape(256, 256)
    data = written(Image.fromarray(levels.astype(np.uint16)), "PNG")
    pixels = decode(data, max_pixels=65536, name="x")[0][:, :, 0]
    assert pixels.tolist() == ((levels * 255 * 2 + 65535) // (2 * 65535)).tolist()


def test_big_endian_16_bit_tiff_is_read_in_its_own_order() -> None:
    data = struct.pack(">HH", 257, 65535)
    little = grey_tiff((2, 1), data, bits=16)
    assert greys(little) == [1, 255]  # 0x0101 and 0xffff read the same both ways
    image = Image.new("I;16B", (2, 1))
    image.putpixel((0, 0), 32768)
    assert greys(written(image, "TIFF")) == [128, 0]


def test_12_bit_tiff_is_scaled_from_4095() -> None:
    values = np.array([[0, 4095, 2048, 16]], np.uint16)
    data = grey_tiff((4, 1), twelve_bit_rows(values), bits=12)
    assert greys(data) == [0, 255, 128, 1]


def test_16_bit_rgb_keeps_the_high_byte() -> None:
    row = struct.pack(">B6H", 0, 65535, 32768, 257, 0, 255, 256)
    assert colours(png_file((2, 1), bits=16, colour=2, data=row)) == [[[255, 128, 1], [0, 0, 1]]]


def test_tiff_where_white_is_zero_is_turned_round() -> None:
    assert greys(grey_tiff((2, 1), bytes([0, 250]), bits=8, photometric=0)) == [255, 5]
    deep = struct.pack("<HH", 0, 65535 - 257)
    assert greys(grey_tiff((2, 1), deep, bits=16, photometric=0)) == [255, 1]


def test_float_tiff_in_0_to_1_is_scaled() -> None:
    image = Image.fromarray(np.array([[0.0, 0.5, 1.0, 0.2]], np.float32))
    assert greys(written(image, "TIFF")) == [0, 128, 255, 51]


@pytest.mark.parametrize("value", [2.0, -0.1, float("nan"), float("inf")])
def test_float_tiff_beyond_0_to_1_is_refused(value: float) -> None:
    data = written(Image.fromarray(np.array([[0.5, value]], np.float32)), "TIFF")
    reason = refusal(data)
    assert reason.startswith("values out of range: ")
    assert reason.endswith("in mode F, expected 0 to 1; convert it to 8 or 16 bits")


def test_32_bit_integers_are_taken_as_16_bit_or_refused() -> None:
    assert greys(grey_tiff((2, 1), struct.pack("<II", 65535, 257), bits=32)) == [255, 1]
    reason = refusal(grey_tiff((2, 1), struct.pack("<II", 0, 65536), bits=32))
    assert reason.startswith("values out of range: 0 to 65536 in mode I, expected 0 to 65535;")


def test_8_bit_values_with_a_sign_are_refused() -> None:
    reason = refusal(grey_tiff((2, 1), struct.pack("<bb", 100, -5), bits=8, sample_format=2))
    assert reason == "values out of range: 8-bit ones with a sign; convert it to unsigned ones"


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_shallow_grey_is_spread_over_the_whole_range(bits: int) -> None:
    full = 2**bits - 1
    levels = range(8 // bits)
    byte = sum((level & full) << 8 - bits * (level + 1) for level in levels)
    row = bytes([0, byte])
    expected = [(level & full) * 255 // full for level in levels]
    assert greys(png_file((8 // bits, 1), bits=bits, colour=0, data=row)) == expected
    assert greys(grey_tiff((8 // bits, 1), bytes([byte]), bits=bits)) == expected
    turned = grey_tiff((8 // bits, 1), bytes([byte]), bits=bits, photometric=0)
    assert greys(turned) == [255 - level for level in expected]


def test_16_bit_colour_and_alpha_of_a_tiff_are_scaled() -> None:
    three = {258: (16,) * 3, 262: (2,), 277: (3,), 339: (1,) * 3}
    data = struct.pack("<6H", 65535, 32768, 257, 0, 255, 256)
    assert colours(tiff_file((2, 1), data, three)) == [[[255, 128, 1], [0, 0, 1]]]
    four = {258: (16,) * 4, 277: (4,), 339: (1,) * 4}
    clear = struct.pack("<4H", 65535, 32768, 257, 32768)
    # Half over white: 255 - (255 - 128) / 2 and 255 - (255 - 1) / 2.
    assert colours(tiff_file((1, 1), clear, {**four, 262: (2,), 338: (2,)})) == [[[255, 191, 128]]]
    inks = struct.pack("<4H", 0, 65535, 65535, 0)
    assert colours(tiff_file((1, 1), inks, {**four, 262: (5,)})) == [[[255, 0, 0]]]


def test_colours_multiplied_by_their_alpha_are_not_multiplied_again() -> None:
    tags = {258: (8,) * 4, 262: (2,), 277: (4,), 338: (1,), 339: (1,) * 4}
    # 127 of white shine through each.
    assert colours(tiff_file((1, 1), bytes([100, 50, 0, 128]), tags)) == [[[227, 177, 127]]]


def test_16_bit_alpha_of_a_png_is_composited_on_white() -> None:
    grey = struct.pack(">B4H", 0, 65535, 65535, 0, 32768)
    assert greys(png_file((2, 1), bits=16, colour=4, data=grey)) == [255, 127]
    colour = struct.pack(">B4H", 0, 65535, 32768, 257, 32768)
    assert colours(png_file((1, 1), bits=16, colour=6, data=colour)) == [[[255, 191, 128]]]


def test_palette_is_expanded() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    for data in (written(image, "PNG"), written(image, "TIFF"), written(image, "BMP")):
        assert colours(data) == [[[10, 20, 30], [40, 50, 60]]]


def test_transparent_palette_entries_show_white() -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([10, 20, 30, 40, 50, 60, 0, 100, 200])
    image.putdata([0, 1, 2])
    assert colours(written(image, "PNG", transparency=1)) == [[[10, 20, 30], WHITE, [0, 100, 200]]]
    # Half transparent (128 of 255): 0 → 127, 100 → 177, 200 → 227.
    halves = colours(written(image, "PNG", transparency=bytes([255, 0, 128])))
    assert halves == [[[10, 20, 30], WHITE, [127, 177, 227]]]


def test_a_transparent_colour_shows_white() -> None:
    rgb = Image.fromarray(np.array([[[1, 2, 3], [1, 2, 4]]], np.uint8))
    assert colours(written(rgb, "PNG", transparency=(1, 2, 3))) == [[WHITE, [1, 2, 4]]]
    grey = Image.fromarray(np.array([[5, 6]], np.uint8))
    assert greys(written(grey, "PNG", transparency=5)) == [255, 6]
    deep = Image.fromarray(np.array([[257, 514]], np.uint16))
    assert greys(written(deep, "PNG", transparency=257)) == [255, 2]


@pytest.mark.parametrize("kind_", ["PNG", "TIFF", "WEBP"])
def test_alpha_is_composited_on_white(kind_: str) -> None:
    alpha = np.array([[[0, 100, 200, 255], [0, 100, 200, 128], [9, 9, 9, 0]]], np.uint8)
    options = {"lossless": True} if kind_ == "WEBP" else {}
    data = written(Image.fromarray(alpha), kind_, **options)
    # 255 - (255 - value) * 128 / 255: 127, 177.2, 227.4.
    assert colours(data) == [[[0, 100, 200], [127, 177, 227], WHITE]]


def test_grey_with_alpha_is_composited_on_white() -> None:
    image = Image.fromarray(np.array([[[10, 255], [0, 128], [10, 0]]], np.uint8), "LA")
    assert colours(written(image, "PNG")) == [[[10] * 3, [127] * 3, WHITE]]


def test_cmyk_is_converted() -> None:
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    assert colours(written(image, "TIFF"))[0][0] == [255, 0, 0]
    jpeg = decode(written(image, "JPEG", quality=95), max_pixels=1000, name="x")[0]
    assert np.abs(jpeg.astype(int) - [255, 0, 0]).max() <= 3
    dark = Image.new("CMYK", (1, 1), (0, 0, 0, 204))
    assert colours(written(dark, "TIFF")) == [[[51, 51, 51]]]


@pytest.mark.parametrize("colour", [(200, 30, 60), (0, 0, 0), (255, 255, 255), (120, 0, 200)])
def test_ycbcr_jpeg_keeps_its_colour(colour: tuple[int, int, int]) -> None:
    data = written(Image.new("RGB", (16, 16), colour), "JPEG", quality=95)
    pixels = decode(data, max_pixels=1000, name="x")[0]
    assert pixels.shape == (16, 16, 3)
    assert np.abs(pixels.astype(int) - colour).max() <= 3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind_", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_exif_orientation_is_applied(kind_: str, orientation: int) -> None:
    image = Image.fromarray(painted(STORED, 16))
    options = {"lossless": True} if kind_ == "WEBP" else {}
    data = written(image, kind_, exif=with_exif(orientation), **options)
    pixels, note = decode(data, max_pixels=10_000, name="x")
    expected = painted(UPRIGHT[orientation], 16)
    assert note is None
    assert pixels.shape == expected.shape
    tolerance = 3 if kind_ == "JPEG" else 0
    assert np.abs(pixels.astype(int) - expected).max() <= tolerance


def test_orientation_is_applied_to_deep_and_transparent_images_too() -> None:
    deep = Image.fromarray(np.array([[257, 514, 771]], np.uint16))
    assert colours(written(deep, "PNG", exif=with_exif(6))) == [[[1] * 3], [[2] * 3], [[3] * 3]]
    clear = Image.fromarray(np.array([[[1, 1, 1, 255], [9, 9, 9, 0]]], np.uint8))
    assert colours(written(clear, "PNG", exif=with_exif(3))) == [[WHITE, [1] * 3]]


def test_an_unknown_orientation_changes_nothing() -> None:
    image = Image.fromarray(painted(STORED, 1))
    for orientation in (0, 9, 4711):
        data = written(image, "PNG", exif=with_exif(orientation))
        assert decode(data, max_pixels=100, name="x")[0].tolist() == painted(STORED, 1).tolist()


@pytest.mark.parametrize("kind_", ["TIFF", "WEBP", "PNG", "MPO"])
def test_the_first_of_several_pages_is_taken_and_noted(kind_: str) -> None:
    first = Image.new("RGB", (16, 16), (200, 0, 0))
    options: dict[str, Any] = {"lossless": True} if kind_ == "WEBP" else {}
    second = Image.new("RGB", (16, 16), (0, 0, 200))
    data = written(first, kind_, save_all=True, append_images=[second], **options)
    pixels, note = decode(data, max_pixels=1000, name="x")
    assert note == "first of several pages"
    tolerance = 3 if kind_ == "MPO" else 0
    assert np.abs(pixels.astype(int) - [200, 0, 0]).max() <= tolerance
