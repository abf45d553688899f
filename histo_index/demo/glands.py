"""Glands: rings of epithelium with nuclei at their base, a lumen inside, stroma between."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from histo_index.arrays import Float64
from histo_index.demo.cells import Blobs, Section, add_nuclei, draw_blobs
from histo_index.demo.fibrous import add_spindles, add_stray_lymphocytes, lay_collagen
from histo_index.demo.textures import Fibres, fade, pixel_grid, scatter, smooth_noise


def paint_glands(rng: np.random.Generator, size_px: int) -> Section:
    """Paint several glands in loose stroma."""
    fibres = Fibres.draw(rng, size_px, wave_px=12, wave_cell_px=60)
    section = lay_collagen(rng, fibres, strength=rng.uniform(0.25, 0.5))
    count = int(0.0007 * size_px**2)
    add_spindles(
        section, fibres, rng=rng, count=count, half_length_px=(6, 10), half_width_px=(2, 3.4)
    )
    add_stray_lymphocytes(section, rng, count=int(rng.uniform(0.0003, 0.002) * size_px**2))
    look = _Look.draw(rng)
    glands = _place_glands(rng, size_px)
    _paint_walls(section, glands, rng=rng, look=look)
    _add_goblets(section, glands, rng=rng, look=look)
    _add_basal_nuclei(section, glands, rng=rng, look=look)
    return section


@dataclass(frozen=True, kw_only=True)
class _Look:
    """What the glands of one tile share."""

    wall_px: float  # height of the epithelium
    goblets: float  # share of the cells that hold a drop of mucus
    crowding: float  # nuclei per position at the base
    hematoxylin: float  # of the cytoplasm
    eosin: float  # of the cytoplasm
    depth: float  # darkness of the nuclei

    @classmethod
    def draw(cls, rng: np.random.Generator) -> _Look:
        goblets = max(0, rng.uniform(-0.4, 1))
        return cls(
            wall_px=rng.uniform(22, 34) + 8 * goblets,
            goblets=goblets,
            crowding=rng.uniform(1, 2.2 - 0.8 * goblets),
            hematoxylin=rng.uniform(0.15, 0.32),
            eosin=rng.uniform(0.3, 0.6),
            depth=rng.uniform(0.85, 1.1),
        )


@dataclass(frozen=True, kw_only=True)
class _Gland:
    """The outline of one gland: an ellipse made irregular by `bend`, pixels [2, H, W]."""

    centre: Float64
    half_px: tuple[float, float]
    angle: float
    bend: Float64

    def depths_px(self) -> Float64:
        """Measure how far inside the outline each pixel is; negative outside."""
        a, b = self.half_px
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        x, y = pixel_grid(self.bend.shape[1])
        dx, dy = x + self.bend[0] - self.centre[0], y + self.bend[1] - self.centre[1]
        p, q = (dx * cos + dy * sin) / a, (dy * cos - dx * sin) / b
        inside: Float64 = (1 - np.sqrt(p * p + q * q)) * b
        return inside

    def line_points(
        self, rng: np.random.Generator, *, depth_px: tuple[float, float], spacing_px: float
    ) -> tuple[Float64, Float64]:
        """Draw points around the gland, [N, 2], and the outward direction at each, [N]."""
        a, b = self.half_px
        count = max(5, int(np.pi * (a + b) / spacing_px))
        steps = (np.arange(count) + rng.uniform(-0.25, 0.25, count) + rng.random()) / count
        # Equal steps of arc, not of angle, or the nuclei would bunch at the ends.
        turn = np.linspace(0, 2 * np.pi, 181)
        pace = np.sqrt((a * np.sin(turn)) ** 2 + (b * np.cos(turn)) ** 2)
        arc = np.cumsum(pace) - pace[0]
        turn = np.interp(steps % 1 * arc[-1], arc, turn)
        shrink = 1 - rng.uniform(*depth_px, count) / b
        p, q = a * np.cos(turn) * shrink, b * np.sin(turn) * shrink
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        points = self.centre + np.stack([p * cos - q * sin, p * sin + q * cos], axis=1)
        outward = np.arctan2(np.sin(turn) / b, np.cos(turn) / a) + self.angle
        column, row = np.clip(points.T.astype(np.int64), 0, self.bend.shape[1] - 1)
        return points - self.bend[:, row, column].T, outward


def _place_glands(rng: np.random.Generator, size_px: int) -> list[_Gland]:
    spacing_px = rng.uniform(105, 160)
    stretch = rng.uniform(1, 1.22)
    turn = rng.uniform(0, np.pi)
    bend = np.stack([4 * smooth_noise(rng, size_px, cell_px=32) for _ in range(2)])
    glands = []
    for centre in scatter(rng, size_px, spacing_px=spacing_px, jitter=0.13):
        radius_px = spacing_px * rng.uniform(0.38, 0.47)
        half_px = (radius_px * stretch, radius_px / stretch)
        angle = turn + rng.normal(0, 0.35)
        if np.all(np.abs(centre - size_px / 2) < size_px / 2 + half_px[0] + 10):
            glands.append(_Gland(centre=centre, half_px=half_px, angle=angle, bend=bend))
    return glands


def _paint_walls(
    section: Section, glands: list[_Gland], *, rng: np.random.Generator, look: _Look
) -> None:
    size_px = len(section.eosin)
    depths_px = np.full((size_px, size_px), -np.inf)
    for gland in glands:
        depths_px = np.maximum(depths_px, gland.depths_px())
    # A thin cleft and a basement membrane around the epithelium.
    section.cover(0.7 * fade(depths_px, start=-3.5, stop=-1.5), hematoxylin=0.06, eosin=0.12)
    section.cover(fade(depths_px, start=-1.5, stop=0), hematoxylin=0.2, eosin=0.6)
    grain = smooth_noise(rng, size_px, cell_px=2.5)
    section.cover(
        fade(depths_px, start=0, stop=1.5),
        hematoxylin=look.hematoxylin + 0.05 * grain,
        eosin=look.eosin + 0.07 * grain,
    )
    edge_px = depths_px + 1.5 * smooth_noise(rng, size_px, cell_px=5) - look.wall_px
    brush_border = fade(edge_px, start=-3, stop=-1)
    section.cover(brush_border, hematoxylin=look.hematoxylin + 0.05, eosin=look.eosin + 0.1)
    slime = np.clip(smooth_noise(rng, size_px, cell_px=9), 0, None)
    section.cover(
        fade(edge_px, start=-0.5, stop=1.5),
        hematoxylin=0.02 + 0.05 * slime,
        eosin=0.02 + 0.04 * slime,
    )


def _add_goblets(
    section: Section, glands: list[_Gland], *, rng: np.random.Generator, look: _Look
) -> None:
    half_px = (look.wall_px - 15) / 2
    middle_px = look.wall_px - half_px - 2
    drops = []
    for gland in glands:
        inner_share = 1 - middle_px / gland.half_px[1]
        if look.goblets == 0 or inner_share < 0.15:
            continue
        # The drops stand side by side on the inner circumference.
        points, outward = gland.line_points(
            rng, depth_px=(middle_px - 2, middle_px + 2), spacing_px=12.5 / inner_share
        )
        drops.append(np.column_stack([points, outward])[rng.random(len(points)) < look.goblets])
    if not drops:
        return
    placed = np.concatenate(drops)  # [N, 3]: x, y, direction
    blobs = Blobs.draw(
        rng,
        placed[:, :2],
        long_px=(0.85 * half_px, 1.1 * half_px),
        short_px=(4.8, 6.6),
        angle=placed[:, 2],
    )
    mask = draw_blobs(rng, blobs, size_px=len(section.eosin))
    mucin = 0.1 + 0.04 * smooth_noise(rng, len(mask), cell_px=3)
    section.cover(0.9 * mask, hematoxylin=mucin, eosin=0.06)


def _add_basal_nuclei(
    section: Section, glands: list[_Gland], *, rng: np.random.Generator, look: _Look
) -> None:
    nuclei = []
    for gland in glands:
        for layer in range(2):
            depth_px = (7.5 + 9 * layer, 10.5 + 11 * layer)
            points, outward = gland.line_points(rng, depth_px=depth_px, spacing_px=8.5)
            kept = rng.random(len(points)) < look.crowding - layer
            nuclei.append(np.column_stack([points, outward])[kept])
    if not nuclei:
        return
    placed = np.concatenate(nuclei)  # [N, 3]: x, y, direction
    angle = placed[:, 2] + rng.normal(0, 0.15, len(placed))
    blobs = Blobs.draw(rng, placed[:, :2], long_px=(6, 8.5), short_px=(3.3, 4.6), angle=angle)
    add_nuclei(section, blobs, rng=rng, depth=(look.depth - 0.2, look.depth + 0.2), rim=0.35)
