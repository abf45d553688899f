"""Read one image file into uint8 RGB pixels, or raise an ImageError of one line.

Pillow decodes, because it survives hostile files; decoders of torchvision can end the process.
16-bit values are scaled and not clipped, alpha is composited on white, EXIF orientation is applied,
and only the first of several pages is read, with a note. Every message is `NAME: KIND`, details
follow one of `: ( ; ,`, so that reasons can be counted.
"""

import hashlib
import io
import os
import stat
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image, UnidentifiedImageError

from histo_index.arrays import Pixels
from histo_index.encoder.decode.to_rgb import DECODE_FAULTS, upright_rgb
from histo_index.errors import ImageError, InputError
from histo_index.slides.reading.identity import parse_tile
from histo_index.wording import printable

FORMATS: Final = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
DEFAULT_MAX_PIXELS: Final = 64_000_000
# Beyond this Pillow itself refuses (twice its MAX_IMAGE_PIXELS).
HIGHEST_MAX_PIXELS: Final = 178_956_970
# Uncompressed 16-bit RGBA of the default pixel limit is 512 MB: no readable tile is larger.
DEFAULT_MAX_BYTES: Final = 512 * 2**20


@dataclass(frozen=True, kw_only=True)
class DecodeLimits:
    """The largest accepted image; a larger one is refused before it is decoded.

    Attributes:
        max_pixels: width times height, from the header.
        max_bytes: size of the file on disk.
    """

    max_pixels: int = DEFAULT_MAX_PIXELS
    max_bytes: int = DEFAULT_MAX_BYTES

    def __post_init__(self) -> None:
        if not (1 <= self.max_pixels <= HIGHEST_MAX_PIXELS and self.max_bytes >= 1):
            raise InputError(
                f"limits of {self.max_pixels:,} pixels and {self.max_bytes:,} bytes; "
                f"expected 1 to {HIGHEST_MAX_PIXELS:,} pixels and at least 1 byte"
            )


@dataclass(frozen=True, kw_only=True)
class TileImage:
    """A decoded tile.

    Attributes:
        pixels: uint8 RGB [H, W, 3].
        sha256: hex digest of the bytes of the file.
        note: what was left out, such as further pages, or None.
    """

    pixels: Pixels
    sha256: str
    note: str | None


def read_tile(path: Path, limits: DecodeLimits, *, least_px: int | None = None) -> TileImage:
    """Read and decode one image file, or one tile of a slide.

    The bytes of a file are read once, so that hash and pixels belong together. A slide is opened in
    a decoder process only.

    Args:
        path: PNG, JPEG, TIFF, BMP or WebP, recognised by content, not by name; or the name of a
            slide tile.
        limits: the largest accepted image.
        least_px: decode a JPEG at a half, a quarter or an eighth of its size, at several times the
            speed, as long as its sides have so many pixels; default: at its full size.

    Returns:
        The tile, orientation applied.

    Raises:
        ImageError: the file is missing, unreadable, too large, of another format or damaged.
    """
    if parse_tile(path) is not None:
        # Imported here: it starts processes, which image files do without.
        from histo_index.encoder.decode.slide_tiles import read_outside

        return read_outside(path, limits)
    data = read_regular_file(path, max_bytes=limits.max_bytes)
    pixels, note = decode(
        data, max_pixels=limits.max_pixels, name=printable(path), least_px=least_px
    )
    return TileImage(pixels=pixels, sha256=hashlib.sha256(data).hexdigest(), note=note)


def read_regular_file(path: Path, *, max_bytes: int) -> bytes:
    """Read a whole regular file; pipes, devices and files over the limit are refused.

    Raises:
        ImageError: the file cannot be read, is not a regular file, is empty or too large.
    """
    name = printable(path)
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ImageError(f"{name}: not a regular file; pass an image file")
            if status.st_size > max_bytes:
                raise ImageError(
                    f"{name}: too large: {status.st_size:,} bytes, the limit is {max_bytes:,}; "
                    "cut it into tiles"
                )
            # With a larger size Python would allocate that much memory.
            data = file.read(status.st_size)
    except OSError as error:
        raise ImageError(f"{name}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:  # a name that no file can have, such as one with a zero byte
        raise ImageError(f"{name}: cannot be read ({one_line(error)})") from error
    if not data:
        raise ImageError(f"{name}: the file is empty; replace or remove it")
    return data


def decode(
    data: bytes, *, max_pixels: int, name: str, least_px: int | None = None
) -> tuple[Pixels, str | None]:
    """Decode the bytes of an image file.

    Args:
        data: the content of the file.
        max_pixels: the largest width times height; checked before decoding.
        name: of the image in messages.
        least_px: see `read_tile`.

    Returns:
        uint8 RGB [H, W, 3], and a note of what was left out, or None.

    Raises:
        ImageError: the format is not one of FORMATS, the image is too large or damaged.
    """
    try:
        with warnings.catch_warnings():
            # Warnings on odd metadata do not matter; the size is checked below.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                width, height = image.size
                if width * height > max_pixels:
                    raise ImageError(_too_large(name, width, height, max_pixels))
                is_one_of_several = getattr(image, "is_animated", False)
                if least_px is not None:
                    image.draft(None, (least_px, least_px))
                pixels, note = upright_rgb(image, name)
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{name}: not an image: expected {', '.join(FORMATS[:-1])} or {FORMATS[-1]} content"
        ) from error
    except Image.DecompressionBombError as error:
        size = _size_of(data)
        raise ImageError(
            _too_large(name, *size, max_pixels)
            if size and size[0] * size[1] > max_pixels
            else f"{name}: too large: more pixels than Pillow opens; cut it into tiles"
        ) from error
    except MemoryError as error:
        raise ImageError(
            f"{name}: too large: not enough memory to decode it; cut it into tiles, or build again "
            "with --retry-rejected where there is more"
        ) from error
    except DECODE_FAULTS as error:
        raise ImageError(f"{name}: damaged image ({one_line(error)})") from error
    notes = ["first of several pages"] if is_one_of_several else []
    return pixels, "; ".join(notes + ([note] if note else [])) or None


def one_line(error: BaseException) -> str:
    """Return the message of a foreign error as one line of at most 200 characters."""
    return printable(" ".join(str(error).split()))[:200] or type(error).__name__


def _open_at_once(path: str, flags: int) -> int:
    # Without O_NONBLOCK, opening a named pipe blocks until it has a writer.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _too_large(name: str, width: int, height: int, max_pixels: int) -> str:
    can_be_raised = width * height <= HIGHEST_MAX_PIXELS
    return (
        f"{name}: too large: {width}×{height} pixels, the limit is {max_pixels:,}; "
        f"cut it into tiles{' or raise --max-pixels' if can_be_raised else ''}"
    )


def _size_of(data: bytes) -> tuple[int, int] | None:
    """Read width and height from a header that `Image.open` refuses; None if unknown."""
    for kind in FORMATS:
        factory, accepts = Image.OPEN[kind]
        # A plugin returns a string if it knows the format and cannot read it.
        if accepts is None or accepts(data[:16]) is True:
            with warnings.catch_warnings(), suppress(*DECODE_FAULTS, Image.DecompressionBombError):
                warnings.simplefilter("ignore")
                with factory(io.BytesIO(data), "") as image:
                    return image.size
    return None
