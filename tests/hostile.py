"""Image files that mean harm, or look like it: every content that a build must get over.

No file comes from elsewhere: all are written here, byte by byte where Pillow would not write them.
"""

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import numpy as np
from PIL import Image

from tests.encoder.files import grey_tiff, png_chunk, png_file, written

# What becomes of a content: in the index, or rejected with a reason of one of these kinds.
INDEXED: Final = "indexed"
NO_IMAGE: Final = "not an image"
DAMAGED: Final = "damaged image"
TOO_LARGE: Final = "too large"
OUT_OF_RANGE: Final = "values out of range"
EMPTY: Final = "the file is empty"
# Formats whose plugins take a broken header now for another format and now for damage.
BROKEN: Final = f"{DAMAGED}|{NO_IMAGE}"

_PNG: Final = b"\x89PNG\r\n\x1a\n"


@cache
def picture() -> Image.Image:
    """A picture of 48 by 32 pixels with something in each of them."""
    return Image.fromarray(np.random.default_rng(3).integers(0, 256, (32, 48, 3), np.uint8))


@cache
def formats() -> Mapping[str, bytes]:
    """A whole file of each of the five formats."""
    kinds = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
    return {kind.lower(): written(picture(), kind) for kind in kinds}


@cache
def hostile_files() -> Mapping[str, tuple[bytes, str]]:
    """Every hostile content by name, with what becomes of it."""
    groups = (
        (_no_images(), NO_IMAGE),
        (_bare_signatures(), BROKEN),
        (_broken_files(), BROKEN),
        (_broken_pngs(), BROKEN),
        (_broken_tiffs(), BROKEN),
        (bombs(), TOO_LARGE),
        (_values_out_of_range(), OUT_OF_RANGE),
        ({"nothing": b""}, EMPTY),
        (_odd_but_sound(), INDEXED),
    )
    return {name: (data, fate) for group, fate in groups for name, data in group.items()}


def bombs() -> Mapping[str, bytes]:
    """Six files of under 1 KB whose headers promise gigabytes of pixels."""
    jpeg, bmp = written(Image.new("RGB", (8, 8)), "JPEG"), written(Image.new("RGB", (8, 8)), "BMP")
    # VP8X: flags, then width and height less one in three bytes each.
    canvas = bytes(4) + (19_999).to_bytes(3, "little") * 2
    return {
        "bomb png": png_file((50_000, 50_000), bits=8, colour=2, data=b""),
        "bomb png 16-bit": png_file((50_000, 50_000), bits=16, colour=6, data=b""),
        "bomb tiff": grey_tiff((50_000, 50_000), b"", bits=8),
        "bomb jpeg": patched(jpeg, jpeg.index(b"\xff\xc0") + 5, ">HH", 50_000, 50_000),
        "bomb bmp": patched(bmp, 18, "<ii", 50_000, 50_000),
        "bomb webp": _riff(b"VP8X" + struct.pack("<I", 10) + canvas + _webp_still()),
    }


def _webp_still() -> bytes:
    return written(Image.new("RGB", (8, 8)), "WEBP", lossless=True)[12:]


def _riff(body: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def patched(data: bytes, offset: int, layout: str, *values: int) -> bytes:
    """A copy of a file with some numbers written over it."""
    changed = bytearray(data)
    struct.pack_into(layout, changed, offset, *values)
    return bytes(changed)


def damaged(data: bytes, dice: random.Random) -> bytes:
    """Flip one to twenty bits, most of them in the headers, and sometimes cut the file short."""
    changed = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 5, 20))):
        offset = dice.randrange(min(len(data), dice.choice((64, 400, len(data)))))
        changed[offset] ^= 1 << dice.randrange(8)
    return bytes(changed[: dice.randrange(1, len(data))] if dice.random() < 0.2 else changed)


def _no_images() -> Mapping[str, bytes]:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("tile.png", formats()["png"])
    # Formats that Pillow reads, or once read by starting another program.
    others = {kind: written(picture(), kind) for kind in ("GIF", "PPM", "ICO", "TGA", "PCX", "PDF")}
    return {f"a {kind}": data for kind, data in others.items()} | {
        "text": b"not an image\n" * 40,
        "one byte": b"\x89",
        "zeros": bytes(4096),
        "noise": random.Random(0).randbytes(4096),
        "html": b"<!doctype html><script>alert(1)</script>",
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        "xml entities": b"<!DOCTYPE x [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;&a;'>]><x>&b;</x>",
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n",
        "zip": archive.getvalue(),
        "gzip": zlib.compress(bytes(10**6), wbits=31),
        "pickle": b"\x80\x04cposix\nsystem\n(S'touch /tmp/owned'\ntR.",
        "elf": b"\x7fELF\2\1\1" + bytes(60),
        "dicom": bytes(128) + b"DICM" + bytes(64),
        "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(64),
        "photoshop": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 9, 9, 8, 3),
        "jpeg 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40),
        "avif": b"\0\0\0\x1cftypavif" + bytes(40),
        "parquet": b"PAR1" + bytes(40) + b"PAR1",
    }


def _bare_signatures() -> Mapping[str, bytes]:
    return {
        "signature png": _PNG,
        "signature jpeg": b"\xff\xd8\xff",
        "signature tiff": b"II*\0",
        "signature big tiff": b"II+\0\x08\0\0\0",
        "signature bmp": b"BM",
        "signature webp": b"RIFF\x10\0\0\0WEBP",
    }


def _broken_files() -> Mapping[str, bytes]:
    whole = formats()
    jpeg, bmp, webp = whole["jpeg"], whole["bmp"], whole["webp"]
    frame = jpeg.index(b"\xff\xc0")
    cuts = {f"half a {kind}": data[: len(data) // 2] for kind, data in whole.items()}
    heads = {f"the head of a {kind}": data[:40] for kind, data in whole.items()}
    return {name: data for name, data in (cuts | heads).items() if "tiff" not in name} | {
        "jpeg without a frame": jpeg[:frame] + jpeg[frame + 19 :],
        "jpeg of no size": patched(jpeg, frame + 5, ">HH", 0, 0),
        "jpeg of 9 components": patched(jpeg, frame + 9, "B", 9),
        "jpeg of 16 bits": patched(jpeg, frame + 4, "B", 16),
        "jpeg of endless markers": b"\xff\xd8" + b"\xff\xe1\0\2" * 5000,
        "jpeg that is a comment": b"\xff\xd8\xff\xfe\xff\xff" + b"a" * 1000,
        "bmp of no size": patched(bmp, 18, "<ii", 0, 0),
        "bmp of a huge header": patched(bmp, 14, "<I", 2**31 - 1),
        "bmp of 77 bits": patched(bmp, 28, "<H", 77),
        "bmp compressed by nothing known": patched(bmp, 30, "<I", 99),
        "webp of another length": patched(webp, 16, "<I", 2**32 - 2),
        "webp of zeros": webp[:20] + bytes(len(webp) - 20),
        "webp animated to no end": _riff(b"VP8X" + struct.pack("<IB", 10, 2) + bytes(9) + b"ANIM"),
    }


def _broken_pngs() -> Mapping[str, bytes]:
    row = bytes(1 + 3 * 48)
    sound = png_file((48, 32), data=row * 32, bits=8, colour=2)
    return {
        "png of no width": png_file((0, 32), data=b"", bits=8, colour=2),
        "png of no rows": png_file((48, 32), data=b"", bits=8, colour=2),
        "png of 7 bits": png_file((48, 32), bits=7, colour=2, data=row * 32),
        "png of colour 5": png_file((48, 32), bits=8, colour=5, data=row * 32),
        "png with a wrong checksum": patched(sound, 29, ">I", 0),
        "png without pixels": sound[:33] + png_chunk(b"IEND", b""),
        "png without a header": _PNG + sound[33:],
        "png with noise for pixels": sound[:33] + png_chunk(b"IDAT", b"\x78\x9c" + b"\xaa" * 99),
        "png with 64 MB of text": png_file(
            (48, 32), data=row * 32, extra=_text_bomb(), bits=8, colour=2
        ),
        "png with text in 200 chunks": png_file(
            (48, 32), data=row * 32, extra=_text_bomb(2**19) * 200, bits=8, colour=2
        ),
    }


def _text_bomb(size: int = 64 * 2**20) -> bytes:
    return png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(size)))


def _broken_tiffs() -> Mapping[str, bytes]:
    sound = grey_tiff((48, 32), bytes(48 * 32), bits=8)
    start = 8 + 48 * 32
    entry: Any = lambda number: start + 2 + 12 * number + 8  # noqa: E731
    return {
        "tiff beyond its end": patched(sound, 4, "<I", 2**32 - 2),
        "tiff of no size": patched(sound, entry(0), "<I", 0),
        "tiff of 3-bit pixels": patched(sound, entry(2), "<I", 3),
        "tiff of unknown compression": patched(sound, entry(3), "<I", 31337),
        "tiff of 60,000 samples": patched(sound, entry(6), "<I", 60_000),
        "tiff with its strip elsewhere": patched(sound, entry(5), "<I", 2**31),
        "half a tiff": written(picture(), "TIFF", compression="tiff_deflate")[:2000],
    }


def _values_out_of_range() -> Mapping[str, bytes]:
    values = {"beyond 1": 2.0, "below 0": -0.1, "not a number": np.nan, "endless": np.inf}
    floats = {
        f"float {name}": written(Image.fromarray(np.array([[0.5, value]], np.float32)), "TIFF")
        for name, value in values.items()
    }
    return floats | {"32-bit": grey_tiff((2, 1), struct.pack("<II", 0, 65536), bits=32)}


def _odd_but_sound() -> Mapping[str, bytes]:
    line = Image.new("L", (60_000, 1), 9)
    rows = (b"\0" + bytes(range(48))) * 32
    exif = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 40
    # An index of a TIFF that names itself as the next: pages without end.
    loop = grey_tiff((2, 1), b"\1\2", bits=8)
    return {
        "one pixel": png_file((1, 1), bits=8, colour=0, data=b"\0\7"),
        "a line": written(line, "PNG"),
        "a column": written(line.transpose(Image.Transpose.ROTATE_90), "PNG"),
        "odd exif": written(picture(), "JPEG", exif=exif),
        # All pixels of these are there, or black: what is written wrongly is nothing of them.
        "png of 20 rows for 32": png_file((48, 32), bits=8, colour=0, data=rows[: 49 * 20]),
        "png with a chunk of 2 GB": patched(
            png_file((48, 32), bits=8, colour=0, data=rows), 33, ">I", 2**31 - 1
        ),
        "tiff of 65,535 tags": patched(loop, 10, "<H", 65535),
        "trailing bytes": formats()["png"] + b"PK\3\4 more" * 100,
        "pages in a circle": patched(loop, len(loop) - 4, "<I", 10),
        **{f"a whole {kind}": data for kind, data in formats().items()},
    }
