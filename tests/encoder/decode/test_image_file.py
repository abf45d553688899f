"""Decoding: hand-computed pixels, one-line refusals, and nothing else whatever the file holds."""

import os
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from histo_index.encoder.decode.image_file import (
    HIGHEST_MAX_PIXELS,
    DecodeLimits,
    decode,
    read_tile,
)
from histo_index.errors import ImageError, InputError
from histo_index.wording import printable
from tests.encoder.files import (
    STORED,
    painted,
    png_chunk,
    png_file,
    sample_files,
    written,
)

WHITE = [255, 255, 255]
BLACK = [0, 0, 0]
SAMPLES = sample_files()


def colours(data: bytes) -> Any:
    """The pixels of a file as nested lists [H][W][3]."""
    return decode(data, max_pixels=1000, name="x")[0].tolist()


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


def test_both_notes_are_kept() -> None:
    image = Image.new("RGB", (2, 2))
    data = written(image, "PNG", save_all=True, append_images=[Image.new("RGB", (2, 2), "red")])
    broken = data[:33] + png_chunk(b"eXIf", b"nothing of use") + data[33:]
    assert decode(broken, max_pixels=9, name="x")[1] == (
        "first of several pages; unreadable EXIF, orientation unknown"
    )


def test_content_decides_the_format_not_the_name(tmp_path: Path) -> None:
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
def test_file_without_an_image_is_refused_for_any_name(tmp_path: Path, content: bytes) -> None:
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


def test_a_file_without_permission_is_refused(
    open_folder: Path, drop_root: Callable[[], None]
) -> None:
    path = open_folder / "tile.png"
    path.touch(mode=0)
    drop_root()
    assert read_refusal(path) == "cannot be read (Permission denied)"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_and_devices_are_refused_and_never_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    script = """
import sys
from pathlib import Path
from histo_index.encoder.decode.image_file import DecodeLimits, read_tile
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


def test_all_samples_together_restore_their_tile() -> None:
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
