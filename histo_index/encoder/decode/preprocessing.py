"""Turn a tile into the input of the network, the same in training and inference."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image

from histo_index.arrays import Pixels
from histo_index.errors import IndexFormatError

# Channel statistics of ImageNet in 0…1, which torchvision's ResNeXt weights expect.
IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)
BILINEAR: Final = "bilinear"
# Beyond these an embedding says little of the tile: most of it is cut off, or made up.
_MOST_SIDES: Final = 4
_MOST_ENLARGED: Final = 8
_FILTERS: Final = {
    BILINEAR: Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How a tile becomes the input of the network; part of the fingerprint of an encoder.

    Attributes:
        resize_px: length of the shorter side after resizing.
        crop_px: side of the square cut from the centre; at most resize_px.
        mean: per channel in 0…1, subtracted inside the network.
        std: per channel in 0…1, divided by inside the network.
        interpolation: of resizing, antialiased as Pillow does it: bilinear, bicubic or lanczos.
    """

    resize_px: int = 224
    crop_px: int = 224
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    interpolation: str = BILINEAR

    def __post_init__(self) -> None:
        # JSON returns lists and whole numbers; the fingerprint must not depend on that.
        object.__setattr__(self, "mean", tuple(float(value) for value in self.mean))
        object.__setattr__(self, "std", tuple(float(value) for value in self.std))
        whole = isinstance(self.crop_px, int) and isinstance(self.resize_px, int)
        sized = whole and 1 <= self.crop_px <= self.resize_px <= 4096
        finite = np.isfinite([*self.mean, *self.std]).all()
        coloured = finite and len(self.mean) == len(self.std) == 3 and min(self.std) > 0
        if not (sized and coloured and self.interpolation in _FILTERS):
            raise IndexFormatError(
                f"{self} is not usable; expected whole numbers 1 <= crop_px <= resize_px <= 4096, "
                f"three finite means, three positive stds, and one of {', '.join(_FILTERS)}"
            )


def describe_fit(height: int, width: int, spec: Preprocessing) -> str | None:
    """Describe what fitting a tile cuts off or makes up, if that is most of it.

    Args:
        height: H of the tile in pixels.
        width: W of the tile in pixels.
        spec: the preprocessing of the encoder.

    Returns:
        A note, or None if the sides differ by at most a factor of 4 and the tile is enlarged at
        most 8 times.
    """
    shorter, longer = sorted((height, width))
    notes = []
    if longer > _MOST_SIDES * shorter:
        notes.append(f"only the middle {shorter:,} of {longer:,} px are encoded")
    if spec.resize_px > _MOST_ENLARGED * shorter:
        notes.append(f"enlarged from {shorter} to {spec.resize_px} px")
    return "; ".join(notes) or None


def fit_tile(pixels: Pixels, spec: Preprocessing) -> Pixels:
    """Resize the shorter side and crop the centre.

    Args:
        pixels: uint8 RGB [H, W, 3].
        spec: the preprocessing of the encoder.

    Returns:
        uint8 RGB [crop_px, crop_px, 3], not normalised: the network does that.
    """
    height, width = pixels.shape[:2]
    scale = spec.resize_px / min(height, width)
    # Cropped while resizing, so that a strip of 1 × 1,000,000 pixels is never enlarged as a whole.
    side = spec.crop_px / scale
    # Rounding may put a corner just below zero, which Pillow refuses. Just beyond the right or
    # lower edge does not matter, because Pillow reads the box in float32.
    left, top = max((width - side) / 2, 0.0), max((height - side) / 2, 0.0)
    if (height, width) == (spec.crop_px, spec.crop_px) and scale == 1.0:
        return pixels
    fitted = Image.fromarray(pixels).resize(
        (spec.crop_px, spec.crop_px),
        _FILTERS[spec.interpolation],
        box=(left, top, left + side, top + side),
    )
    return np.asarray(fitted)
