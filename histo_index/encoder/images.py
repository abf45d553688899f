"""Read one image file into uint8 RGB pixels, or say in one line why it cannot be read.

Pillow decodes, because it survives hostile files (torchvision's decoders were seen to end the
process). What Pillow leaves open is decided here, once: 16-bit is scaled and not clipped, alpha is
composited on white, EXIF orientation is applied, the first page of several is taken and noted.
"""

import hashlib
import io
import os
import stat
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from histo_index.errors import ImageError

Pixels = npt.NDArray[np.uint8]

FORMATS: Final = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
DEFAULT_MAX_PIXELS: Final = 64_000_000
# Uncompressed 16-bit RGBA of the default pixel limit is 512 MB: no readable tile is larger.
DEFAULT_MAX_BYTES: Final = 512 * 2**20

# What Pillow's plugins were seen to raise on damaged files; everything else is our own fault.
_DECODE_FAULTS: Final = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, AttributeError, EOFError,
    OverflowError, ZeroDivisionError, MemoryError, RuntimeError, struct.error,
    Image.DecompressionBombError, Image.DecompressionBombWarning,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class DecodeLimits:
    """How large a file may be before it is refused unread.

    Attributes:
        max_pixels: width times height, taken from the header before anything is decoded.
        max_bytes: size of the file on disk.
    """

    max_pixels: int = DEFAULT_MAX_PIXELS
    max_bytes: int = DEFAULT_MAX_BYTES


@dataclass(frozen=True, kw_only=True)
class TileImage:
    """A decoded tile.

    Attributes:
        pixels: uint8 RGB [H, W, 3].
        sha256: hex digest of the file's bytes; empty if there was no file.
        note: what was left out, such as further pages; None if nothing was.
    """

    pixels: Pixels
    sha256: str
    note: str | None


def read_tile(path: Path, limits: DecodeLimits) -> TileImage:
    """Read and decode one image file.

    The bytes are read once, so that hash and pixels belong to the same content.

    Args:
        path: PNG, JPEG, TIFF, BMP or WebP, told by its content and not by its name.
        limits: what is refused for its size.

    Returns:
        The tile, orientation applied, at its full size.

    Raises:
        ImageError: the file is missing, unreadable, too large, of another format or damaged.
    """
    data = read_regular_file(path, max_bytes=limits.max_bytes)
    pixels, note = decode(data, max_pixels=limits.max_pixels, name=str(path))
    return TileImage(pixels=pixels, sha256=hashlib.sha256(data).hexdigest(), note=note)


def read_regular_file(path: Path, *, max_bytes: int) -> bytes:
    """Read a whole file, refusing pipes, devices and files over the limit.

    Raises:
        ImageError: the file cannot be read, is not a regular file, is empty or too large.
    """
    try:
        # Without O_NONBLOCK opening a named pipe waits for ever for its writer.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ImageError(f"{path}: not a regular file; pass an image file")
            if status.st_size > max_bytes:
                raise ImageError(
                    f"{path}: too large: {status.st_size:,} bytes, the limit is {max_bytes:,}; "
                    "cut it into tiles"
                )
            data = file.read(max_bytes)
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not data:
        raise ImageError(f"{path}: the file is empty; replace or remove it")
    return data


def decode(data: bytes, *, max_pixels: int, name: str) -> tuple[Pixels, str | None]:
    """Decode the bytes of an image file.

    Args:
        data: the file's content.
        max_pixels: width times height above which the header alone leads to refusal.
        name: how messages call the image.

    Returns:
        uint8 RGB [H, W, 3], and a note on what was left out, or None.

    Raises:
        ImageError: the format is not one of FORMATS, the image is too large or damaged.
    """
    try:
        with warnings.catch_warnings():
            # Metadata that Pillow finds odd is no concern of ours; the bomb check is our own.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                width, height = image.size
                if width * height > max_pixels:
                    raise ImageError(
                        f"{name}: too large: {width}×{height} pixels, the limit is {max_pixels:,}; "
                        "cut it into tiles or raise --max-pixels"
                    )
                pages = getattr(image, "n_frames", 1)
                image.load()
                upright = ImageOps.exif_transpose(image)
                pixels = _to_rgb(upright, name)
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{name}: not an image: expected {', '.join(FORMATS[:-1])} or {FORMATS[-1]} content"
        ) from error
    except _DECODE_FAULTS as error:
        raise ImageError(f"{name}: damaged image ({_one_line(error)})") from error
    return pixels, f"first of {pages} pages" if pages > 1 else None


def to_pixels(image: "Image.Image | Pixels") -> Pixels:
    """Take an image that is already in memory.

    Args:
        image: a Pillow image of any mode, or uint8 RGB [H, W, 3].

    Returns:
        uint8 RGB [H, W, 3].

    Raises:
        ImageError: the array is of another type or shape, or the mode is not supported.
    """
    if isinstance(image, Image.Image):
        return _to_rgb(ImageOps.exif_transpose(image), "image")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ImageError(
            f"array of {image.dtype} {list(image.shape)} is not an image; pass uint8 RGB [H, W, 3]"
        )
    return image


def _to_rgb(image: Image.Image, name: str) -> Pixels:
    if image.mode.startswith(("I", "F")):
        return _scale_deep(image, name)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        colour = image.convert("RGBA")
        white = Image.new("RGBA", colour.size, "white")
        image = Image.alpha_composite(white, colour)
    return np.asarray(image.convert("RGB"))


def _scale_deep(image: Image.Image, name: str) -> Pixels:
    """Scale 16-bit and float greyscale to 8 bits; Pillow's own conversion clips to white."""
    values = np.asarray(image).astype(np.float64)
    full = 1.0 if image.mode == "F" else 65535.0
    lowest, highest = float(values.min()), float(values.max())
    if not (lowest >= 0 and highest <= full):
        raise ImageError(
            f"{name}: values out of range: {lowest:g} to {highest:g} in mode {image.mode}, "
            f"expected 0 to {full:g}; convert it to 8 or 16 bits"
        )
    grey = np.rint(values * (255.0 / full)).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
