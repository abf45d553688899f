"""Find tissue on an overview of a slide, without weights: Otsu's threshold on saturation.

Black padding and pen are left out first. Local entropy of the haematoxylin channel is a second
opinion, because pale tissue has little saturation but more structure than glass.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from histo_index.errors import InputError
from histo_index.slides.reading.reader import Pixels
from histo_index.slides.tissue.entropy import haematoxylin_entropy
from histo_index.slides.tissue.pen import find_padding, find_pen

Mask = npt.NDArray[np.bool_]

OTSU: Final = "otsu"
ENTROPY: Final = "entropy"
NONE: Final = "none"
METHODS: Final = (OTSU, ENTROPY, NONE)

# Saturation, 0 to 255, between which the threshold of a slide lies: glass has less, tissue more. A
# slide without glass, or without tissue, has no two peaks to separate.
_SATURATION_RANGE: Final = (14.0, 40.0)
_ENTROPY_RANGE: Final = (1.0, 2.2)  # bits
_GAP_UM: Final = 30.0  # closed between pieces of tissue
_SPECK_MM2: Final = 0.01  # smaller pieces are dust
_HOLE_MM2: Final = 0.02  # smaller holes, such as lumens, belong to the tissue
_DISC: Final = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
_MOST: Final = 0.98
_LEAST_MM2: Final = 0.02
# The second opinion is mentioned if it finds so much more than Otsu's method.
_DISAGREEMENT: Final = 1.5


@dataclass(frozen=True, kw_only=True)
class TissueMask:
    """What is tissue and what is pen on an overview.

    Attributes:
        tissue: bool [H, W].
        pen: bool [H, W].
        mpp: microns per pixel of the mask.
        problems: what to look at, one line each.
    """

    tissue: Mask
    pen: Mask
    mpp: float
    problems: tuple[str, ...]


def find_tissue(picture: Pixels, mpp: float, *, method: str = OTSU) -> TissueMask:
    """Find tissue on an overview.

    Args:
        picture: uint8 RGB [H, W, 3].
        mpp: its microns per pixel, about 8.
        method: one of METHODS; `entropy` adds the second opinion to the tissue that Otsu's method
            finds, `none` takes everything.

    Raises:
        InputError: the method is unknown.

    Source: Otsu (1979), A threshold selection method from gray-level histograms.
    """
    if method not in METHODS:
        raise InputError(f"unknown tissue method {method}; expected {', '.join(METHODS)}")
    hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV).astype(np.uint8, copy=False)
    pen, padding = find_pen(hsv, mpp), find_padding(picture)
    if method == NONE:
        return TissueMask(tissue=np.ones(pen.shape, bool), pen=pen, mpp=mpp, problems=())
    usable = ~(pen | padding)
    uneven = _above(haematoxylin_entropy(picture), usable, _ENTROPY_RANGE)
    # Entropy is that of a window, which reaches over the edge of the tissue.
    by_entropy = _clean(cv2.erode(uneven.astype(np.uint8), _DISC) > 0, usable, mpp)
    saturation = cv2.medianBlur(hsv[:, :, 1], 3).astype(np.float32)
    tissue = _clean(_above(saturation, usable, _SATURATION_RANGE), usable, mpp)
    if method == ENTROPY:
        both = tissue | by_entropy
        return TissueMask(tissue=both, pen=pen, mpp=mpp, problems=_check(both, mpp))
    problems = (*_check(tissue, mpp), *_compare(tissue, by_entropy, mpp))
    return TissueMask(tissue=tissue, pen=pen, mpp=mpp, problems=problems)


def _above(values: npt.NDArray[np.float32], usable: Mask, limits: tuple[float, float]) -> Mask:
    """Select values above Otsu's threshold, which is kept within limits."""
    known = values[usable]
    if not known.size:
        return np.zeros(values.shape, bool)
    step = max(float(known.max()), 1e-6) / 255
    levels = (known / step).astype(np.uint8).reshape(-1, 1)
    found, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    above: Mask = (values > float(np.clip(found * step, *limits))) & usable
    return above


def _clean(mask: Mask, usable: Mask, mpp: float) -> Mask:
    """Close gaps, then drop specks and fill small holes by their area."""
    radius = max(round(_GAP_UM / mpp / 2), 1)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    # Beyond the border as at the border: closing would else eat or add tissue there.
    border = (radius, radius, radius, radius)
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), *border, cv2.BORDER_REPLICATE)
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, kernel)[radius:-radius, radius:-radius]
    kept = _drop_small(closed.astype(np.uint8, copy=False), _SPECK_MM2, mpp)
    filled = 1 - _drop_small(1 - kept, _HOLE_MM2, mpp, keep_edge=True)
    result: Mask = filled.astype(bool) & usable
    return result


def _drop_small(
    mask: npt.NDArray[np.uint8], area_mm2: float, mpp: float, *, keep_edge: bool = False
) -> npt.NDArray[np.uint8]:
    """Drop pieces below an area; with keep_edge not those at the edge of the picture."""
    count, labels, facts, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    is_kept = facts[:count, cv2.CC_STAT_AREA] * mpp**2 / 1e6 >= area_mm2
    if keep_edge:
        for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
            is_kept[np.unique(edge)] = True
    is_kept[0] = False  # the background
    return np.asarray(is_kept.astype(np.uint8)[labels], np.uint8)


def _check(tissue: Mask, mpp: float) -> tuple[str, ...]:
    if _area(tissue, mpp) < _LEAST_MM2:
        return ("no tissue found: look at the preview, or pass --tissue entropy or none",)
    if tissue.mean() > _MOST:
        return (f"{100 * tissue.mean():.0f} % of the slide counts as tissue: look at the preview",)
    return ()


def _compare(tissue: Mask, second: Mask, mpp: float) -> tuple[str, ...]:
    extra = _area(second & ~tissue, mpp)
    if extra < _LEAST_MM2 or _area(second, mpp) < _DISAGREEMENT * _area(tissue, mpp):
        return ()
    return (
        f"{extra:.2g} mm² more may be pale tissue: look at the preview, or pass --tissue entropy",
    )


def _area(mask: Mask, mpp: float) -> float:
    """Return the area of a mask in mm²."""
    return float(mask.sum()) * mpp**2 / 1e6
