"""Image files written by hand, for what Pillow cannot write, and a set of files of every format."""

import io
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from histo_index.demo.tiles import render_tile


def written(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The bytes of a file that Pillow writes."""
    buffer = io.BytesIO()
    # Copies: Pillow leaves settings of one format on the images, which upset the next.
    if "append_images" in options:
        options["append_images"] = [other.copy() for other in options["append_images"]]
    image.copy().save(buffer, kind, **options)
    return buffer.getvalue()


def png_file(
    size: tuple[int, int], *, bits: int, colour: int, data: bytes, extra: bytes = b""
) -> bytes:
    """A PNG of this header; `data` are its scanlines, each after a filter byte of zero."""
    header = struct.pack(">IIBBBBB", *size, bits, colour, 0, 0, 0)
    body = png_chunk(b"IHDR", header) + extra + png_chunk(b"IDAT", zlib.compress(data))
    return b"\x89PNG\r\n\x1a\n" + body + png_chunk(b"IEND", b"")


def png_chunk(name: bytes, data: bytes) -> bytes:
    """One chunk, with its checksum."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def tiff_file(
    size: tuple[int, int], data: bytes, tags: Mapping[int, tuple[int, ...]] | None = None
) -> bytes:
    """An uncompressed little-endian TIFF of one strip: 8-bit grey unless `tags` say otherwise."""
    width, height = size
    chosen = {
        256: (width,), 257: (height,), 258: (8,), 259: (1,), 262: (1,),
        273: (8,), 277: (1,), 278: (height,), 279: (len(data),), 339: (1,),
        **(tags or {}),
    }  # fmt: skip
    start = 8 + len(data) + len(data) % 2
    entries, further = b"", b""
    for tag, values in sorted(chosen.items()):
        # Every value as LONG (4): readers take that for SHORT tags too.
        packed = struct.pack(f"<{len(values)}I", *values)
        offset = start + 6 + 12 * len(chosen) + len(further)
        entries += struct.pack("<HHI", tag, 4, len(values))
        entries += packed if len(values) == 1 else struct.pack("<I", offset)
        further += packed if len(values) > 1 else b""
    head = struct.pack("<2sHI", b"II", 42, start) + data + b"\0" * (len(data) % 2)
    return head + struct.pack("<H", len(chosen)) + entries + b"\0\0\0\0" + further


def grey_tiff(
    size: tuple[int, int], data: bytes, *, bits: int, photometric: int = 1, sample_format: int = 1
) -> bytes:
    """An uncompressed little-endian TIFF of one strip and one channel."""
    tags = {258: (bits,), 262: (photometric,), 339: (sample_format,)}
    return tiff_file(size, data, tags)


def twelve_bit_rows(values: npt.NDArray[np.uint16]) -> bytes:
    """Pack rows of an even number of 12-bit values, two into three bytes."""
    first, second = values[:, ::2].astype(int), values[:, 1::2].astype(int)
    triples = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=-1)
    return triples.astype(np.uint8).tobytes()


def with_exif(orientation: int) -> Image.Exif:
    """EXIF that says how the camera was held."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def sample_files() -> Mapping[str, bytes]:
    """A small file of every format and mode that the decoder meets."""
    rgb = Image.fromarray(render_tile("glands", seed=1, size_px=32))
    grey = rgb.convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    other = rgb.transpose(Image.Transpose.ROTATE_90)
    exif = with_exif(6)
    return {
        "png": written(rgb, "PNG", exif=exif),
        "png 16-bit": written(deep, "PNG"),
        "png palette": written(rgb.quantize(16), "PNG", transparency=3),
        "png 1-bit": written(grey.convert("1"), "PNG"),
        "png animated": written(rgb, "PNG", save_all=True, append_images=[other]),
        "jpeg": written(rgb, "JPEG", exif=exif),
        "jpeg progressive": written(rgb, "JPEG", progressive=True),
        "jpeg cmyk": written(rgb.convert("CMYK"), "JPEG"),
        "mpo": written(rgb, "MPO", save_all=True, append_images=[other]),
        "webp": written(rgb, "WEBP", exif=exif),
        "webp lossless": written(rgb, "WEBP", lossless=True),
        "webp animated": written(rgb, "WEBP", save_all=True, append_images=[other]),
        "bmp": written(rgb, "BMP"),
        "bmp palette": written(rgb.quantize(16), "BMP"),
        "tiff": written(rgb, "TIFF"),
        "tiff 16-bit": written(deep, "TIFF"),
        "tiff float": written(Image.fromarray(np.asarray(grey) / np.float32(255)), "TIFF"),
        "tiff pages": written(rgb, "TIFF", save_all=True, append_images=[other]),
        "tiff lzw": written(rgb, "TIFF", compression="tiff_lzw"),
        "tiff deflate": written(rgb, "TIFF", compression="tiff_deflate"),
        "tiff jpeg": written(rgb, "TIFF", compression="jpeg"),
        "tiff cmyk": written(rgb.convert("CMYK"), "TIFF"),
    }


# An image of six cells as stored, and upright by EXIF orientation (EXIF 2.32, tag 0x0112).
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


def painted(rows: tuple[str, ...], cell: int) -> npt.NDArray[np.uint8]:
    """The cells as squares of so many pixels, each in its grey, RGB."""
    levels = np.array([[LETTERS[letter] for letter in row] for row in rows], np.uint8)
    large = np.kron(levels, np.ones((cell, cell), np.uint8))
    return np.repeat(large[:, :, None], 3, axis=2)
