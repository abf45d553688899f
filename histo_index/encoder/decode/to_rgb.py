"""Turn an opened image into upright uint8 RGB pixels, whatever its mode and depth."""

import struct
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from PIL import Image

from histo_index.arrays import Pixels
from histo_index.errors import ImageError

# What Pillow raises on damaged files; anything else is an error in this package.
DECODE_FAULTS: Final = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, AttributeError, EOFError,
    OverflowError, ZeroDivisionError, RuntimeError, struct.error,
)  # fmt: skip
_ALPHA_MODES: Final = ("RGBA", "LA", "PA", "RGBa")
# EXIF 2.32, tag 0x0112: the turn that makes each stored orientation upright.
_ORIENTATION: Final = 0x0112
_TURNS: Final[Mapping[Any, Image.Transpose]] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# TIFF 6.0: tags of greyscale that Pillow does not apply to deep images.
_BITS_PER_SAMPLE: Final = 258
_PHOTOMETRIC: Final = 262
_WHITE_IS_ZERO: Final = 0
_SAMPLE_FORMAT: Final = 339
_SIGNED: Final = 2


def upright_rgb(image: Image.Image, name: str) -> tuple[Pixels, str | None]:
    """Load an opened image upright, with a note if its EXIF data cannot be read."""
    image.load()
    pixels = _to_rgb(image, name)
    try:
        turn = _TURNS.get(image.getexif().get(_ORIENTATION))
    except DECODE_FAULTS:
        # The pixels are intact; only the metadata is damaged.
        return pixels, "unreadable EXIF, orientation unknown"
    if turn is not None:
        pixels = np.asarray(Image.fromarray(pixels).transpose(turn))
    return pixels, None


def _to_rgb(image: Image.Image, name: str) -> Pixels:
    if image.mode.startswith(("I", "F")):
        return _scale_deep(image, name)
    if _SIGNED in getattr(image, "tag_v2", {}).get(_SAMPLE_FORMAT, ()):
        # Pillow reads -5 as 251.
        raise ImageError(
            f"{name}: values out of range: 8-bit ones with a sign; convert it to unsigned ones"
        )
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        colour = image.convert("RGBA")
        white = Image.new("RGBA", colour.size, "white")
        image = Image.alpha_composite(white, colour)
    return np.asarray(image.convert("RGB"))


def _scale_deep(image: Image.Image, name: str) -> Pixels:
    """Scale 12-bit, 16-bit and float greyscale to 8 bits; Pillow would clip it."""
    tags: Any = getattr(image, "tag_v2", {})
    full = 1.0 if image.mode == "F" else 4095.0 if tags.get(_BITS_PER_SAMPLE) == (12,) else 65535.0
    # float32 holds all 65,536 levels exactly, and no scaled level is near a rounding boundary.
    values = np.asarray(image).astype(np.float32)
    lowest, highest = float(values.min()), float(values.max())
    if not (lowest >= 0 and highest <= full):
        raise ImageError(
            f"{name}: values out of range: {lowest:g} to {highest:g} in mode {image.mode}, "
            f"expected 0 to {full:g}; convert it to 8 or 16 bits"
        )
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        values = full - values
    if "transparency" in image.info:
        values[values == image.info["transparency"]] = full
    grey = np.rint(values * (255.0 / full)).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)
