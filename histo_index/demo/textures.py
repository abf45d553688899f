"""Random textures that the tissues are painted with.

Everything is float64: a last digit that rounds differently on another machine
then does not reach the 8-bit pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from histo_index.arrays import Float64

# Standard deviations of unit-variance lattice values after interpolation, so that
# both kinds of noise come out with variance 1: cubic B-spline 151/315 (both axes),
# smoothstep 26/35 (both axes).
_SPLINE_STD = 151 / 315
_STEP_STD = 26 / 35
_LATTICE = 256  # cells before noise repeats; the finest streaks fill a 256 px tile


def pixel_grid(size_px: int) -> tuple[Float64, Float64]:
    """Return the x and y coordinates of all pixels, each float64 [H, W]."""
    y, x = np.indices((size_px, size_px), dtype=np.float64)
    return x, y


def smooth_noise(rng: np.random.Generator, size_px: int, *, cell_px: float) -> Float64:
    """Draw soft round blotches about `cell_px` wide.

    Returns:
        float64 [H, W], mean about 0, variance about 1.
    """
    cells = int(size_px / cell_px) + 5
    lattice = rng.standard_normal((cells, cells))
    start_x, start_y = rng.random(2)
    rows = _spline_weights(np.arange(size_px) / cell_px + start_y, cells)
    columns = _spline_weights(np.arange(size_px) / cell_px + start_x, cells)
    return rows @ lattice @ columns.T / _SPLINE_STD


def _spline_weights(positions: Float64, cells: int) -> Float64:
    # float64 [N, cells]: uniform cubic B-spline weights; four of a row are not 0.
    near_by = np.floor(positions + 0.5).astype(np.int64)[:, None] + np.arange(4)
    gaps = np.abs(positions[:, None] + 1.5 - near_by)
    squares, rest = gaps * gaps, np.clip(2 - gaps, 0, None)
    near = 2 / 3 - squares + squares * gaps / 2
    # The last point of the last rows may lie beyond the lattice.
    weights = np.zeros((len(positions), cells + 1))
    np.put_along_axis(weights, near_by, np.where(gaps < 1, near, rest * rest * rest / 6), axis=1)
    return weights[:, :cells]


def noise_at(rng: np.random.Generator, *, u: Float64, v: Float64) -> Float64:
    """Look up lattice noise at given points, for textures that follow a flow.

    Args:
        rng: draws the lattice.
        u: first coordinate in lattice cells, any shape.
        v: second coordinate in lattice cells, same shape.

    Returns:
        float64 of the shape of `u`, mean about 0, variance about 1; repeats
        after 256 cells.
    """
    lattice = rng.standard_normal((_LATTICE, _LATTICE))
    left, top = np.floor(u), np.floor(v)
    s, t = u - left, v - top
    s, t = s * s * (3 - 2 * s), t * t * (3 - 2 * t)
    i, j = (corner.astype(np.int64) % _LATTICE for corner in (left, top))
    i_next, row, row_next = (i + 1) % _LATTICE, j * _LATTICE, (j + 1) % _LATTICE * _LATTICE
    near = lattice.take(row + i) * (1 - s) + lattice.take(row + i_next) * s
    far = lattice.take(row_next + i) * (1 - s) + lattice.take(row_next + i_next) * s
    return (near * (1 - t) + far * t) / _STEP_STD


def fade(values: Float64, *, start: float, stop: float) -> Float64:
    """Map `start` to 0 and `stop` to 1, smoothly, and clip beyond them."""
    share = np.clip((values - start) / (stop - start), 0, 1)
    return share * share * (3 - 2 * share)


def scatter(rng: np.random.Generator, size_px: int, *, spacing_px: float, jitter: float) -> Float64:
    """Place points on a shaken hexagonal grid that reaches past the tile's edge.

    Args:
        rng: shakes, shifts and turns the grid.
        size_px: side of the tile.
        spacing_px: distance between neighbours.
        jitter: share of the spacing by which a point may stray, 0 to 0.5.

    Returns:
        float64 [N, 2], x and y in pixels, from about -1.5 spacings to one and a
        half spacings past the far edge.
    """
    reach = size_px * 0.75 + 2.5 * spacing_px
    steps = int(reach / spacing_px) + 1
    row, column = np.mgrid[-steps : steps + 1, -steps : steps + 1].reshape(2, -1)
    # Rows of a hexagonal grid are sqrt(3)/2 apart.
    points = np.stack([column + 0.5 * (row % 2), row * 0.75**0.5], axis=1) * spacing_px
    points += rng.uniform(-jitter, jitter, points.shape) * spacing_px
    turn = rng.uniform(0, np.pi)
    cos, sin = np.cos(turn), np.sin(turn)
    points = points @ np.array([[cos, sin], [-sin, cos]])
    points += size_px / 2 + rng.uniform(-0.5, 0.5, 2) * spacing_px
    border = 1.5 * spacing_px
    kept = np.all((points > -border) & (points < size_px + border), axis=1)
    inside: Float64 = points[kept]
    return inside


def tangents(field: Float64, points: Float64) -> Float64:
    """Compute the direction of the level line of `field` through each point.

    Args:
        field: float64 [H, W].
        points: float64 [N, 2], x and y; points outside use the nearest pixel.

    Returns:
        float64 [N], radians.
    """
    limit = field.shape[0] - 2
    x = np.clip(points[:, 0].astype(np.int64), 1, limit)
    y = np.clip(points[:, 1].astype(np.int64), 1, limit)
    slope_x = field[y, x + 1] - field[y, x - 1]
    slope_y = field[y + 1, x] - field[y - 1, x]
    return np.arctan2(slope_x, -slope_y)


@dataclass(frozen=True, kw_only=True)
class Fibres:
    """A flow of wavy, roughly parallel fibres.

    Attributes:
        along: float64 [H, W], position along the fibre in pixels.
        across: float64 [H, W], position across the fibres in pixels.
    """

    along: Float64
    across: Float64

    @classmethod
    def draw(
        cls, rng: np.random.Generator, size_px: int, *, wave_px: float, wave_cell_px: float
    ) -> Fibres:
        """Draw a flow in a random direction that sways by about `wave_px`."""
        x, y = pixel_grid(size_px)
        angle = rng.uniform(0, np.pi)
        sway = wave_px * smooth_noise(rng, size_px, cell_px=wave_cell_px)
        return cls(
            along=x * np.cos(angle) + y * np.sin(angle),
            across=y * np.cos(angle) - x * np.sin(angle) + sway,
        )

    def texture(self, rng: np.random.Generator, *, length_px: float, width_px: float) -> Float64:
        """Draw streaks of the given size along the flow: float64 [H, W], variance about 1."""
        shift = rng.uniform(0, _LATTICE, 2)
        return noise_at(
            rng, u=self.along / length_px + shift[0], v=self.across / width_px + shift[1]
        )
