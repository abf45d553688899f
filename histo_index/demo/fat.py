"""Fat: empty polygonal cells packed like foam."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from histo_index.arrays import Float64
from histo_index.demo.cells import Blobs, Section, add_nuclei
from histo_index.demo.textures import fade, pixel_grid, scatter, smooth_noise, tangents


def paint_fat(rng: np.random.Generator, size_px: int) -> Section:
    """Paint large empty adipocytes, their thin walls and the few nuclei in these."""
    spacing_px = rng.uniform(75, 140)
    centres = scatter(rng, size_px, spacing_px=spacing_px, jitter=rng.uniform(0.14, 0.26))
    wall_px, cell = _foam(rng, size_px, centres=centres, rounding_px=rng.uniform(2.5, 6))
    ragged_px = wall_px + 0.8 * smooth_noise(rng, size_px, cell_px=7)
    thickness_px = rng.uniform(1.0, 1.9) * np.exp(0.35 * smooth_noise(rng, size_px, cell_px=45))
    wall = np.exp(-(np.clip(ragged_px / thickness_px, 0, None) ** 2))
    tint = np.clip(1 + 0.3 * smooth_noise(rng, size_px, cell_px=12), 0.3, 1.7)
    section = Section(
        hematoxylin=(rng.uniform(0.08, 0.2) * wall + 0.005) * tint,
        eosin=(rng.uniform(0.35, 0.6) * wall + 0.01) * tint,
    )
    # Where a wall was cut flat it lies over the cell as a veil.
    veil = fade(smooth_noise(rng, size_px, cell_px=28), start=1.0, stop=1.4) * fade(
        wall_px, start=34, stop=4
    )
    veil *= rng.random(len(centres))[cell] < 0.35
    section.eosin = section.eosin + 0.16 * veil * tint
    section.hematoxylin = section.hematoxylin + 0.04 * veil
    _add_wall_nuclei(
        section, rng, wall_px=wall_px, count=int(rng.uniform(3, 9) * (size_px / 256) ** 2) + 1
    )
    return section


def _foam(
    rng: np.random.Generator, size_px: int, *, centres: Float64, rounding_px: float
) -> tuple[Float64, npt.NDArray[np.int64]]:
    """Cut the tile into cells: how far each pixel is from a wall, and whose it is.

    The walls are those of a Voronoi diagram with its corners rounded off, so the
    distance, float64 [H, W] in pixels, goes below 0 in the corners.
    """
    x, y = pixel_grid(size_px)
    bend = 0.035 * size_px**0.5 * rng.uniform(4, 9)
    x, y = (axis + bend * smooth_noise(rng, size_px, cell_px=40) for axis in (x, y))
    # |p - c|² without the part that all centres share.
    powers = [c @ c - 2 * (c[0] * x + c[1] * y) for c in centres]
    nearest = np.full_like(x, np.inf)
    cell = np.zeros(x.shape, dtype=np.int64)
    for number, power in enumerate(powers):
        closer = power < nearest
        cell[closer] = number
        nearest = np.minimum(power, nearest)
    own = centres[cell]
    crowd = np.zeros_like(x)
    for (centre_x, centre_y), power in zip(centres.tolist(), powers, strict=True):
        apart = np.sqrt((own[..., 0] - centre_x) ** 2 + (own[..., 1] - centre_y) ** 2)
        # Distance to the line halfway between the two centres; never its own.
        to_wall = (power - nearest) / np.where(apart > 0, 2 * apart, 1)
        crowd += np.where(apart > 0, np.exp(-to_wall / rounding_px), 0)
    return -rounding_px * np.log(crowd + 1e-30), cell


def _add_wall_nuclei(
    section: Section, rng: np.random.Generator, *, wall_px: Float64, count: int
) -> None:
    rows, columns = np.nonzero(wall_px < 1)
    if len(rows) == 0:
        return
    chosen = rng.integers(0, len(rows), count)
    centres = np.stack([columns[chosen], rows[chosen]], axis=1).astype(np.float64)
    blobs = Blobs.draw(
        rng, centres, long_px=(5, 9), short_px=(1.8, 3.2), angle=tangents(wall_px, centres)
    )
    add_nuclei(section, blobs, rng=rng, depth=(0.7, 1.2))
