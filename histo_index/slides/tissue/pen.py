"""Find what is neither tissue nor glass: pen by its hue, and black padding."""

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from histo_index.slides.reading.reader import Pixels

# Hue in degrees / 2, saturation and value from 0 to 255, as OpenCV has them. Stains of haematoxylin
# and eosin lie between 120 and 178; dark haematoxylin has a hue of blue ink, but less saturation.
_INKS: Final = {
    "green": ((30, 70, 30), (92, 255, 255)),
    "blue": ((93, 110, 30), (118, 255, 255)),
    "red": ((0, 190, 80), (9, 255, 255)),
    "crimson": ((175, 210, 80), (179, 255, 255)),
    "black": ((0, 0, 13), (179, 70, 75)),
}
_BLACK: Final = 12
# Ink is drawn in strokes: single pixels of its colour are tissue. It bleeds at its edge.
_STROKE_UM: Final = 50.0
_BLEED_UM: Final = 40.0


def find_pen(hsv: Pixels, mpp: float) -> npt.NDArray[np.bool_]:
    """Find pen marks.

    Args:
        hsv: uint8 [H, W, 3], as OpenCV converts RGB to HSV.
        mpp: microns per pixel.

    Returns:
        bool [H, W].
    """
    found = np.zeros(hsv.shape[:2], np.uint8)
    for low, high in _INKS.values():
        ink = cv2.inRange(hsv, np.array(low, np.uint8), np.array(high, np.uint8))
        found |= ink.astype(np.uint8)
    strokes = cv2.morphologyEx(found, cv2.MORPH_OPEN, _disc(_STROKE_UM, mpp))
    pen: npt.NDArray[np.bool_] = cv2.dilate(strokes, _disc(_BLEED_UM, mpp)) > 0
    return pen


def find_padding(picture: Pixels) -> npt.NDArray[np.bool_]:
    """Find black padding, which scanners write where nothing was scanned: bool [H, W]."""
    black: npt.NDArray[np.bool_] = picture.max(axis=2) <= _BLACK
    return black


def _disc(width_um: float, mpp: float) -> npt.NDArray[np.uint8]:
    side = 2 * max(round(width_um / mpp / 2), 1) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)
