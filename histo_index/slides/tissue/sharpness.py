"""Measure how sharp a tile is."""

import cv2

from histo_index.slides.reading.reader import Pixels


def measure_sharpness(pixels: Pixels) -> float:
    """Compute the variance of the Laplacian of the luminance; smaller is more blurred.

    Args:
        pixels: uint8 RGB [H, W, 3].

    Source: Pech-Pacheco et al. (2000), Diatom autofocusing in brightfield microscopy.
    """
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())
