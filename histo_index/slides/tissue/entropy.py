"""Local entropy of the haematoxylin channel: glass is even, tissue is not, however pale."""

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from histo_index.slides.reading.reader import Pixels

# Optical densities of red, green and blue for haematoxylin, eosin and what is left.
# Source: Ruifrok and Johnston (2001), Quantification of histochemical staining.
_STAINS: Final = np.array([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105], [0.268, 0.570, 0.776]])
# Densities from 0 to this are put in bins.
_DENSEST: Final = 0.6
_BINS: Final = 24
_WINDOW: Final = 5
# A coarse look is enough.
_SHRINK: Final = 2


def haematoxylin_entropy(picture: Pixels) -> npt.NDArray[np.float32]:
    """Compute the entropy of haematoxylin densities around each pixel.

    Args:
        picture: uint8 RGB [H, W, 3].

    Returns:
        float32 [H, W], bits.
    """
    height, width = picture.shape[:2]
    small = (max(width // _SHRINK, 1), max(height // _SHRINK, 1))
    shrunk = cv2.resize(picture, small, interpolation=cv2.INTER_AREA)
    bins = _density_bins(shrunk.astype(np.uint8, copy=False))
    entropy = np.zeros(bins.shape, np.float32)
    for number in range(_BINS):
        is_in_bin = (bins == number).astype(np.float32)
        share = cv2.blur(is_in_bin, (_WINDOW, _WINDOW), borderType=cv2.BORDER_REFLECT)
        entropy -= share * np.log2(np.maximum(share, np.float32(1e-6)))
    return np.asarray(cv2.resize(entropy, (width, height), interpolation=cv2.INTER_LINEAR))


def _density_bins(picture: Pixels) -> npt.NDArray[np.uint8]:
    to_stains = np.linalg.inv(_STAINS / np.linalg.norm(_STAINS, axis=1, keepdims=True))
    # Optical density of each of the 256 values: the table is the logarithm of all pixels.
    table = -np.log10(np.maximum(np.arange(256), 1) / 255).astype(np.float32)
    haematoxylin = table[picture] @ to_stains[:, 0].astype(np.float32)
    scaled = np.clip(haematoxylin / _DENSEST, 0, 1) * (_BINS - 1)
    return np.asarray(scaled, np.uint8)
