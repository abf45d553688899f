"""Cells and nuclei, drawn many at a time, and the section they are drawn into."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from histo_index.arrays import Float64
from histo_index.demo.textures import smooth_noise

_BATCH = 256  # blobs computed together; keeps the intermediate arrays within the cache


@dataclass(kw_only=True)
class Section:
    """How much of each dye every pixel holds; 0 none, 1 strong, 1.5 darkest.

    Attributes:
        hematoxylin: float64 [H, W].
        eosin: float64 [H, W].
    """

    hematoxylin: Float64
    eosin: Float64

    def cover(self, mask: Float64, *, hematoxylin: Float64 | float, eosin: Float64 | float) -> None:
        """Replace what is there by new dye amounts where `mask` is 1, in part where below 1."""
        self.hematoxylin = self.hematoxylin * (1 - mask) + hematoxylin * mask
        self.eosin = self.eosin * (1 - mask) + eosin * mask


@dataclass(frozen=True, kw_only=True)
class Blobs:
    """Ellipses with a slightly irregular outline.

    Attributes:
        centres: float64 [N, 2], x and y in pixels; may lie outside the tile.
        long_px: float64 [N], half length.
        short_px: float64 [N], half width.
        angle: float64 [N], direction of the length in radians.
    """

    centres: Float64
    long_px: Float64
    short_px: Float64
    angle: Float64

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        centres: Float64,
        *,
        long_px: tuple[float, float],
        short_px: tuple[float, float],
        angle: Float64 | None = None,
    ) -> Blobs:
        """Draw sizes evenly from the given ranges; any direction where no angle is given."""
        count = len(centres)
        directions = rng.uniform(0, np.pi, count)
        return cls(
            centres=centres,
            long_px=rng.uniform(*long_px, count),
            short_px=rng.uniform(*short_px, count),
            angle=directions if angle is None else angle,
        )

    def grown(self, by_px: float) -> Blobs:
        """Return the same blobs with an outline `by_px` further out."""
        return Blobs(
            centres=self.centres,
            long_px=self.long_px + by_px,
            short_px=self.short_px + by_px,
            angle=self.angle,
        )


def draw_blobs(
    rng: np.random.Generator,
    blobs: Blobs,
    *,
    size_px: int,
    depth: tuple[float, float] = (1.0, 1.0),
    rim: float = 0.0,
    wobble: float = 0.1,
) -> Float64:
    """Draw blobs into an empty plane; where two overlap, the darker one shows.

    Args:
        rng: draws depths and outlines.
        blobs: what to draw.
        size_px: side of the tile.
        depth: range of the darkness of a blob.
        rim: share by which the outline is darker than the middle, 0 to 1.
        wobble: irregularity of the outlines, 0 to 0.2.

    Returns:
        float64 [H, W], 0 outside all blobs.
    """
    plane = np.zeros((size_px, size_px))
    reach = int(np.max(np.maximum(blobs.long_px, blobs.short_px), initial=0) * (1 + 2 * wobble)) + 2
    inside = np.all((blobs.centres > -reach) & (blobs.centres < size_px + reach), axis=1)
    chosen = np.flatnonzero(inside)
    for start in range(0, len(chosen), _BATCH):
        rows = chosen[start : start + _BATCH]
        corners = np.floor(blobs.centres[rows]).astype(np.int64) - reach
        shapes = _stamps(rng, blobs, rows=rows, reach=reach, rim=rim, wobble=wobble)
        shapes *= rng.uniform(*depth, (len(rows), 1, 1))
        for (x, y), shape in zip(corners.tolist(), shapes, strict=True):
            x_in, y_in = max(x, 0), max(y, 0)
            target = plane[y_in : y + shape.shape[0], x_in : x + shape.shape[1]]
            source = shape[y_in - y :, x_in - x :][: target.shape[0], : target.shape[1]]
            np.maximum(target, source, out=target)
    return plane


def _stamps(
    rng: np.random.Generator,
    blobs: Blobs,
    *,
    rows: npt.NDArray[np.int64],
    reach: int,
    rim: float,
    wobble: float,
) -> Float64:
    # float64 [N, S, S] with S = 2 * reach + 2: darkness of each blob, 0 to 1.
    steps = np.arange(2 * reach + 2) - reach
    offset = blobs.centres[rows] - np.floor(blobs.centres[rows])
    dx = steps[None, None, :] - offset[:, 0, None, None]
    dy = steps[None, :, None] - offset[:, 1, None, None]
    cos, sin = np.cos(blobs.angle[rows]), np.sin(blobs.angle[rows])
    long_px, short_px = blobs.long_px[rows], blobs.short_px[rows]
    p = dx * (cos / long_px)[:, None, None] + dy * (sin / long_px)[:, None, None]
    q = dy * (cos / short_px)[:, None, None] - dx * (sin / short_px)[:, None, None]
    radius = np.sqrt(p * p + q * q) + 1e-9
    bend = rng.uniform(-wobble, wobble, (2, len(rows), 1, 1))
    # Outline in polar form, with cos(2a) and cos(3a) written through p and q.
    p, q = p / radius, q / radius
    radius *= 1 + bend[0] * (2 * p * p - 1) + bend[1] * p * (4 * p * p - 3)
    inner_px = (1 - radius) * np.minimum(long_px, short_px)[:, None, None]
    edge = np.clip(inner_px / 1.6 + 0.5, 0, 1)
    return edge * (1 - rim * np.clip(inner_px / 3 - 0.3, 0, 1))


def add_nuclei(
    section: Section,
    blobs: Blobs,
    *,
    rng: np.random.Generator,
    depth: tuple[float, float] = (0.8, 1.2),
    rim: float = 0.2,
    clumps: float = 0.2,
) -> None:
    """Draw nuclei with mottled chromatin over a section.

    Args:
        section: changed in place.
        blobs: where the nuclei are.
        rng: draws depths, outlines and chromatin.
        depth: range of hematoxylin amounts.
        rim: how much paler the middle is than the nuclear membrane, 0 to 1.
        clumps: strength of the mottling, 0 to 1.
    """
    size_px = len(section.eosin)
    plane = draw_blobs(rng, blobs, size_px=size_px, depth=depth, rim=rim)
    chromatin = np.clip(1 + clumps * smooth_noise(rng, size_px, cell_px=2.2), 0.2, 1.8)
    mask = np.minimum(plane * 2.5, 1)
    # Nuclei take a little eosin too, which is what makes them purple and not blue.
    section.cover(mask, hematoxylin=plane * chromatin, eosin=0.6 * section.eosin + 0.05)
