"""Decoding: hand-computed pixels, one-line refusals, and nothing else whatever the file holds."""

import os
import random
import re
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from histo_index.encoder.images import (
    HIGHEST_MAX_PIXELS,
    DecodeLimits,
    Pixels,
    decode,
    printable,
    read_tile,
    to_pixels,
)
from histo_index.errors import ImageError, InputError
from tests.encoder.files import (
    grey_tiff,
    png_chunk,
    png_file,
    sample_files,
    twelve_bit_rows,
    with_exif,
    written,
)

WHITE = [255, 255, 255]
BLACK = [0, 0, 0]
SAMPLES = sample_files()


def colours(data: bytes) -> Any:
    """The pixels of a file as nested lists [H][W][3]."""
    return decode(data, max_pixels=1000, name="x")[0].tolist()


def greys(data: bytes) -> list[int]:
    """The pixels of a greyscale file, row by row; all three channels must agree."""
    pixels = decode(data, max_pixels=1000, name="x")[0]
    assert (pixels == pixels[:, :, :1]).all()
    return [int(value) for value in pixels[:, :, 0].ravel()]


def refusal(data: bytes, *, max_pixels: int = 10**6) -> str:
    with pytest.raises(ImageError) as caught:
        decode(data, max_pixels=max_pixels, name="dir/x.png")
    return checked(caught.value, "dir/x.png")


def read_refusal(path: Path, limits: DecodeLimits | None = None) -> str:
    with pytest.raises(ImageError) as caught:
        read_tile(path, limits or DecodeLimits())
    return checked(caught.value, printable(path))


def checked(error: ImageError, name: str) -> str:
    """The reason of an error, which must be one line that starts with the name."""
    message = str(error)
    assert message.startswith(f"{name}: ")
    assert len(message.splitlines()) == 1
    return message.removeprefix(f"{name}: ")


def kind(reason: str) -> str:
    """What a build counts reasons by."""
    return re.split(r"[:(;,]", reason)[0].strip()


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
    assert kind(reason) == "values out of range"
    assert reason.endswith("in mode F, expected 0 to 1; convert it to 8 or 16 bits")


def test_32_bit_integers_are_taken_as_16_bit_or_refused() -> None:
    assert greys(grey_tiff((2, 1), struct.pack("<II", 65535, 257), bits=32)) == [255, 1]
    reason = refusal(grey_tiff((2, 1), struct.pack("<II", 0, 65536), bits=32))
    assert reason.startswith("values out of range: 0 to 65536 in mode I, expected 0 to 65535;")


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
def test_ycbcr_jpeg_gives_its_colour_back(colour: tuple[int, int, int]) -> None:
    data = written(Image.new("RGB", (16, 16), colour), "JPEG", quality=95)
    pixels = decode(data, max_pixels=1000, name="x")[0]
    assert pixels.shape == (16, 16, 3)
    assert np.abs(pixels.astype(int) - colour).max() <= 3


STORED = ("abc", "def")
UPRIGHT = {
    1: ("abc", "def"),
    2: ("cba", "fed"),
    3: ("fed", "cba"),
    4: ("def", "abc"),
    5: ("ad", "be", "cf"),
    6: ("da", "eb", "fc"),
    7: ("fc", "eb", "da"),
    8: ("cf", "be", "ad"),
}
LETTERS = dict(zip("abcdef", (20, 60, 100, 140, 180, 220), strict=True))


def painted(rows: tuple[str, ...], cell: int) -> Pixels:
    levels = np.array([[LETTERS[letter] for letter in row] for row in rows], np.uint8)
    large = np.kron(levels, np.ones((cell, cell), np.uint8))
    return np.repeat(large[:, :, None], 3, axis=2)


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


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0" + bytes(range(64)),
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 40,
        b"Exif\0\0II*\0\xff\xff\xff\x7f",
        b"Exif\0\0",
    ],
)
def test_corrupt_exif_costs_the_orientation_and_not_the_tile(exif: bytes) -> None:
    image = Image.fromarray(painted(STORED, 16))
    pixels, note = decode(written(image, "JPEG", exif=exif), max_pixels=10_000, name="x")
    assert note in (None, "unreadable EXIF, orientation unknown")
    assert np.abs(pixels.astype(int) - painted(STORED, 16)).max() <= 3


def test_unreadable_exif_is_noted() -> None:
    data = written(Image.new("RGB", (1, 1)), "PNG", exif=b"Exif\0\0no such thing as a TIFF")
    assert decode(data, max_pixels=1, name="x")[1] == "unreadable EXIF, orientation unknown"


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


def test_both_notes_are_kept() -> None:
    image = Image.new("RGB", (2, 2))
    data = written(image, "PNG", save_all=True, append_images=[Image.new("RGB", (2, 2), "red")])
    broken = data[:33] + png_chunk(b"eXIf", b"nothing of use") + data[33:]
    assert decode(broken, max_pixels=9, name="x")[1] == (
        "first of several pages; unreadable EXIF, orientation unknown"
    )


def test_the_content_tells_the_format_and_not_the_name(tmp_path: Path) -> None:
    path = tmp_path / "tile.jpg"
    Image.new("RGB", (2, 1), (1, 2, 3)).save(path, "PNG")
    tile = read_tile(path, DecodeLimits())
    assert tile.pixels.tolist() == [[[1, 2, 3], [1, 2, 3]]]
    assert tile.note is None


def test_the_hash_is_of_the_bytes_that_were_decoded(tmp_path: Path) -> None:
    path = tmp_path / "tile.png"
    # printf 'x' | sha256sum and the like: of the file below, computed with sha256sum.
    path.write_bytes(png_file((1, 1), bits=8, colour=0, data=b"\0\7"))
    printed = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True)
    assert read_tile(path, DecodeLimits()).sha256 == printed.stdout.split()[0]


@pytest.mark.parametrize("content", [b"not an image at all\n", b"\0" * 100, b"GIF89a\1\0\1\0"])
def test_what_is_no_image_is_refused_whatever_its_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tile.png"
    path.write_bytes(content)
    assert read_refusal(path) == ("not an image: expected PNG, JPEG, TIFF, BMP or WEBP content")


def test_formats_beyond_the_five_are_refused() -> None:
    for kind_ in ("GIF", "PPM", "ICO", "TGA", "PCX"):
        assert kind(refusal(written(Image.new("RGB", (8, 8)), kind_))) == "not an image"


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tile.png"
    path.touch()
    assert read_refusal(path) == "the file is empty; replace or remove it"


@pytest.mark.parametrize("name", ["png", "jpeg", "webp", "webp lossless", "bmp", "tiff deflate"])
def test_half_a_file_is_refused_as_damaged(name: str) -> None:
    data = SAMPLES[name]
    assert kind(refusal(data[: len(data) // 2])) in ("damaged image", "not an image")
    if name in ("png", "jpeg", "bmp"):
        assert kind(refusal(data[: len(data) * 3 // 4])) == "damaged image"


def outcome(data: bytes) -> str:
    """Decode; give the kind of refusal or `pixels`. Any other exception fails the test."""
    try:
        pixels, _ = decode(data, max_pixels=10**6, name="x")
    except ImageError as error:
        return kind(checked(error, "x"))
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    return "pixels"


REFUSALS = {"damaged image", "not an image", "values out of range", "too large"}


@pytest.mark.parametrize("name", SAMPLES)
def test_every_truncation_is_refused_or_decoded(name: str) -> None:
    data = SAMPLES[name]
    steps = range(0, len(data), max(1, len(data) // 100))
    outcomes = {outcome(data[:length]) for length in steps}
    assert outcomes <= REFUSALS | {"pixels"}
    assert outcomes & REFUSALS  # none of the formats passes all of its truncations


@pytest.mark.parametrize("name", SAMPLES)
def test_random_damage_is_refused_or_decoded(name: str) -> None:
    dice = random.Random(name)
    data = SAMPLES[name]
    assert outcome(data) == "pixels"
    outcomes = {outcome(damaged(data, dice)) for _ in range(300)}
    assert outcomes <= REFUSALS | {"pixels"}
    assert outcomes & REFUSALS


def damaged(data: bytes, dice: random.Random) -> bytes:
    """Flip one to twenty bits, most of them in the headers, and sometimes cut the file short."""
    changed = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 5, 20))):
        place = dice.randrange(min(len(data), dice.choice((64, 400, len(data)))))
        changed[place] ^= 1 << dice.randrange(8)
    return bytes(changed[: dice.randrange(1, len(data))] if dice.random() < 0.2 else changed)


def patched(data: bytes, place: int, layout: str, *values: int) -> bytes:
    changed = bytearray(data)
    struct.pack_into(layout, changed, place, *values)
    return bytes(changed)


def bombs() -> dict[str, bytes]:
    """Files of under 1 KB whose headers promise billions of pixels."""
    jpeg = written(Image.new("RGB", (8, 8)), "JPEG")
    bmp = written(Image.new("RGB", (8, 8)), "BMP")
    return {
        "png": png_file((50_000, 50_000), bits=8, colour=2, data=b""),
        "png 16-bit": png_file((50_000, 50_000), bits=16, colour=6, data=b""),
        "tiff": grey_tiff((50_000, 50_000), b"", bits=8),
        "jpeg": patched(jpeg, jpeg.index(b"\xff\xc0") + 5, ">HH", 50_000, 50_000),
        "bmp": patched(bmp, 18, "<ii", 50_000, 50_000),
    }


@pytest.mark.parametrize("name", bombs())
def test_a_header_of_50_000_by_50_000_is_refused_without_memory(name: str) -> None:
    data = bombs()[name]
    assert len(data) < 1000
    tracemalloc.start()
    reason = refusal(data, max_pixels=HIGHEST_MAX_PIXELS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert kind(reason) == "too large"
    assert reason == "too large: 50000×50000 pixels, the limit is 178,956,970; cut it into tiles"
    assert peak < 10**6


def test_no_bomb_makes_the_process_grow(tmp_path: Path) -> None:
    # Below the size at which Pillow refuses, so that our own limit is what stops them.
    files = bombs() | {"10k": png_file((10_000, 10_000), bits=16, colour=6, data=b"")}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    script = """
import resource, sys
from pathlib import Path
from histo_index.encoder.images import DecodeLimits, read_tile
from histo_index.errors import ImageError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in Path(sys.argv[1]).iterdir():
    try:
        read_tile(path, DecodeLimits())
    except ImageError as error:
        assert "too large" in str(error), error
    else:
        raise AssertionError(path)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(ran.stdout) < 30  # MiB; one of them decoded would be 190 at the least


def test_the_pixel_limit_is_exact() -> None:
    data = written(Image.new("RGB", (30, 20)), "PNG")
    assert decode(data, max_pixels=600, name="x")[0].shape == (20, 30, 3)
    assert refusal(data, max_pixels=599) == (
        "too large: 30×20 pixels, the limit is 599; cut it into tiles or raise --max-pixels"
    )


def test_the_byte_limit_is_exact(tmp_path: Path) -> None:
    path = tmp_path / "tile.png"
    data = written(Image.new("RGB", (2, 2)), "PNG")
    path.write_bytes(data)
    assert read_tile(path, DecodeLimits(max_bytes=len(data))).pixels.shape == (2, 2, 3)
    assert read_refusal(path, DecodeLimits(max_bytes=len(data) - 1)) == (
        f"too large: {len(data)} bytes, the limit is {len(data) - 1}; cut it into tiles"
    )


def test_reading_takes_no_more_memory_than_the_file(tmp_path: Path) -> None:
    path = tmp_path / "tile.png"
    Image.new("RGB", (2, 2)).save(path)
    read_tile(path, DecodeLimits())  # whatever is imported on first use
    tracemalloc.start()
    read_tile(path, DecodeLimits())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10**6


@pytest.mark.parametrize("limit", [0, -1, HIGHEST_MAX_PIXELS + 1])
def test_limits_that_cannot_be_kept_are_refused(limit: int) -> None:
    with pytest.raises(InputError, match=r"expected 1 to 178,956,970 pixels"):
        DecodeLimits(max_pixels=limit)
    assert 2 * (Image.MAX_IMAGE_PIXELS or 0) == HIGHEST_MAX_PIXELS


def test_a_folder_is_refused_and_left_closed(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    for _ in range(5):
        assert read_refusal(tmp_path) == "cannot be read (Is a directory)"
    if before:
        assert len(os.listdir("/proc/self/fd")) == before


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert read_refusal(tmp_path / "none.png") == "cannot be read (No such file or directory)"


def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path) -> None:
    assert kind(read_refusal(tmp_path / ("n" * 300))) == "cannot be read"
    assert read_refusal(tmp_path / "a\0b") == "cannot be read (embedded null byte)"
    assert kind(read_refusal(tmp_path / "\ud800.png")) == "cannot be read"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all files")
def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tile.png"
    path.touch(mode=0)
    assert read_refusal(path) == "cannot be read (Permission denied)"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_and_devices_are_refused_and_never_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    script = """
import sys
from pathlib import Path
from histo_index.encoder.images import DecodeLimits, read_tile
try:
    read_tile(Path(sys.argv[1]), DecodeLimits())
except Exception as error:
    print(type(error).__name__, error)
"""
    for path in (pipe, Path("/dev/zero")):
        command = [sys.executable, "-c", script, str(path)]
        ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        assert ran.stdout == f"ImageError {path}: not a regular file; pass an image file\n"


def test_odd_names_stay_on_one_line_of_utf_8(tmp_path: Path) -> None:
    name = os.fsdecode("Zeile\nzwei \u2028ü 日本\r\x1b[31m\x85".encode() + b"\xff.png")
    with pytest.raises(ImageError) as caught:
        read_tile(tmp_path / name, DecodeLimits())
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.encode().decode() == message
    assert message == (
        f"{tmp_path}/Zeile\\nzwei \\u2028ü 日本\\r\\x1b[31m\\x85\\udcff.png: "
        "cannot be read (No such file or directory)"
    )


def test_pillow_images_in_memory_are_converted_as_files_are() -> None:
    alpha = Image.fromarray(np.array([[[0, 100, 200, 128]]], np.uint8))
    assert to_pixels(alpha).tolist() == [[[127, 177, 227]]]
    deep = Image.fromarray(np.array([[32768, 257]], np.uint16))
    assert to_pixels(deep).tolist() == [[[128] * 3, [1] * 3]]
    turned = Image.fromarray(painted(STORED, 1))
    turned.getexif()[0x0112] = 6
    assert to_pixels(turned).tolist() == painted(UPRIGHT[6], 1).tolist()
    assert to_pixels(Image.new("CMYK", (1, 1), (0, 255, 255, 0))).tolist() == [[[255, 0, 0]]]


def test_a_pillow_image_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tile.jpg"
    path.write_bytes(SAMPLES["jpeg"][:-20])
    with Image.open(path) as lazy, pytest.raises(ImageError, match=r"^image: cannot be turned"):
        to_pixels(lazy)
    with pytest.raises(ImageError, match=r"^image: cannot be turned into RGB \(conversion from La"):
        to_pixels(Image.new("La", (1, 1)))


def test_pixel_arrays_pass_as_they_are() -> None:
    pixels = np.zeros((2, 3, 3), np.uint8)
    assert to_pixels(pixels) is pixels


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((2, 3, 3), np.float32), "float32 [2, 3, 3]"),
        (np.zeros((2, 3), np.uint8), "uint8 [2, 3]"),
        (np.zeros((2, 3, 4), np.uint8), "uint8 [2, 3, 4]"),
        (np.zeros((0, 3, 3), np.uint8), "uint8 [0, 3, 3]"),
        ([[[0, 0, 0]]], "list [1, 1, 3]"),
    ],
)
def test_other_arrays_are_refused(array: Any, words: str) -> None:
    with pytest.raises(ImageError) as caught:
        to_pixels(array)
    assert str(caught.value) == f"image: not an image: {words}, expected uint8 RGB [H, W, 3]"


def test_the_whole_set_of_samples_gives_the_tile_they_were_made_of() -> None:
    expected = decode(SAMPLES["tiff"], max_pixels=1024, name="x")[0].astype(int)
    lossless: list[npt.NDArray[np.int_]] = [
        decode(SAMPLES[name], max_pixels=1024, name="x")[0].astype(int)
        for name in ("bmp", "tiff lzw", "tiff deflate", "tiff pages", "webp lossless", "tiff cmyk")
    ]
    assert all(np.array_equal(pixels, expected) for pixels in lossless)
    turned = decode(SAMPLES["png"], max_pixels=1024, name="x")[0]  # says orientation 6
    assert np.array_equal(turned, np.rot90(expected, -1))


def test_a_bomb_without_a_readable_size_is_refused_in_our_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def explode(*args: object, **options: object) -> None:
        raise Image.DecompressionBombError("Image size exceeds limit, could be DOS attack.")

    monkeypatch.setattr(Image, "open", explode)
    for data in (b"nothing", written(Image.new("RGB", (8, 8)), "PNG")):
        assert refusal(data) == "too large: more pixels than Pillow opens; cut it into tiles"
