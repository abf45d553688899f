"""Turn a mask into polygons, and measure what share of squares a mask covers."""

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from histo_index.arrays import Float64

Ring = npt.NDArray[np.float64]  # [P, 2], x and y
# Corners closer to the line than this, in pixels of the mask, are left out.
_TOLERANCE_PX: Final = 0.7
_FINER: Final = 2


def outline(mask: npt.NDArray[np.bool_]) -> list[list[Ring]]:
    """Trace the pieces of a mask.

    Args:
        mask: bool [H, W].

    Returns:
        Polygons in pixels of the mask, each an outer ring and the rings of its holes; a ring is
        float64 [P, 2], x and y from the corner of the mask, open: its last point is not its first.
    """
    # OpenCV traces the centres of pixels: of smaller ones they lie closer to the edge.
    fine = np.repeat(np.repeat(mask.astype(np.uint8), _FINER, axis=0), _FINER, axis=1)
    rings, tree = cv2.findContours(fine, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    polygons: dict[int, list[Ring]] = {}
    for number, ring in enumerate(rings):
        simple = cv2.approxPolyDP(ring, _FINER * _TOLERANCE_PX, closed=True).reshape(-1, 2)
        parent = int(tree[0][number][3])
        if len(simple) < 3:
            continue
        if parent < 0:
            polygons[number] = [(simple + 0.5) / _FINER]
        elif parent in polygons:
            polygons[parent].append((simple + 0.5) / _FINER)
    return list(polygons.values())


def shares(mask: npt.NDArray[np.bool_], lefts: Float64, tops: Float64, side: float) -> Float64:
    """Measure what share of each square is in a mask.

    Args:
        mask: bool [H, W].
        lefts: float64 [T], left edges in pixels of the mask, which need not be whole.
        tops: float64 [T], upper edges.
        side: of the squares, in pixels of the mask.

    Returns:
        float64 [T], 0 to 1; what lies outside the mask counts as 0.
    """
    table = cv2.integral(mask.astype(np.uint8), sdepth=cv2.CV_64F)

    def area(x: Float64, y: Float64) -> Float64:
        """Return the area of the mask above and left of points."""
        x, y = np.clip(x, 0, mask.shape[1]), np.clip(y, 0, mask.shape[0])
        column, row = np.floor(x).astype(int), np.floor(y).astype(int)
        right = np.minimum(column + 1, mask.shape[1])
        below = np.minimum(row + 1, mask.shape[0])
        dx, dy = x - column, y - row
        upper = table[row, column] * (1 - dx) + table[row, right] * dx
        lower = table[below, column] * (1 - dx) + table[below, right] * dx
        found: Float64 = upper * (1 - dy) + lower * dy
        return found

    rights, bottoms = lefts + side, tops + side
    covered = area(rights, bottoms) - area(lefts, bottoms) - area(rights, tops) + area(lefts, tops)
    return np.clip(covered / side**2, 0, 1)
