"""Tissues made of fibres: stroma, muscle, and the bed that other tissues lie in."""

from __future__ import annotations

import numpy as np

from histo_index.arrays import Float64
from histo_index.demo.cells import Blobs, Section, add_nuclei
from histo_index.demo.textures import Fibres, fade, smooth_noise, tangents


def paint_stroma(rng: np.random.Generator, size_px: int) -> Section:
    """Paint wavy collagen with clefts and sparse spindle nuclei."""
    fibres = Fibres.draw(rng, size_px, wave_px=rng.uniform(7, 16), wave_cell_px=rng.uniform(38, 75))
    section = lay_collagen(rng, fibres, strength=rng.uniform(0.4, 0.7))
    clefts = fibres.texture(rng, length_px=75, width_px=rng.uniform(8, 14))
    clefts = clefts + 0.25 * smooth_noise(rng, size_px, cell_px=6)
    start = rng.uniform(1.2, 2.0)
    gap = fade(clefts, start=start, stop=start + 0.4)
    section.cover(gap, hematoxylin=0.01, eosin=0.03)
    count = int(rng.uniform(0.00025, 0.0007) * size_px**2)
    add_spindles(
        section, fibres, rng=rng, count=count, half_length_px=(7, 13), half_width_px=(1.8, 3.4)
    )
    add_stray_lymphocytes(section, rng, count=int(rng.uniform(0, 0.0001) * size_px**2))
    return section


def paint_muscle(rng: np.random.Generator, size_px: int) -> Section:
    """Paint strong, nearly straight bundles with cigar-shaped nuclei along them."""
    fibres = Fibres.draw(rng, size_px, wave_px=rng.uniform(2, 6), wave_cell_px=rng.uniform(90, 150))
    cell_px = rng.uniform(6, 10)
    cells = fibres.texture(rng, length_px=150, width_px=cell_px)
    fine = fibres.texture(rng, length_px=45, width_px=1.8)
    grain = smooth_noise(rng, size_px, cell_px=2.4)
    patches = smooth_noise(rng, size_px, cell_px=90)
    eosin = rng.uniform(0.78, 1.02) + 0.1 * cells + 0.05 * fine + 0.05 * grain + 0.05 * patches
    section = Section(hematoxylin=0.16 + 0.03 * fine, eosin=np.clip(eosin, 0.3, 1.4))
    # Bundles are parted by thin pale lines that come and go.
    bundle_px = rng.uniform(32, 75)
    across_px = fibres.across + 0.2 * bundle_px * fibres.texture(rng, length_px=240, width_px=90)
    line_px = np.abs((across_px / bundle_px) % 1 - 0.5) * bundle_px
    width_px = 2.2 * np.clip(0.5 + smooth_noise(rng, size_px, cell_px=50), 0, 2)
    # A line thinner than a pixel must fade out, or it would break into dots.
    split = (1 - fade(line_px / (width_px + 1), start=0.3, stop=1.2)) * fade(
        width_px, start=0.2, stop=1.5
    )
    section.cover(0.85 * split, hematoxylin=0.04, eosin=0.12)
    oblique = rng.uniform(0.45, 1)
    half_length_px = (9 * oblique, 17 * oblique)
    count = int(rng.uniform(0.0005, 0.0011) * size_px**2)
    add_spindles(
        section,
        fibres,
        rng=rng,
        count=count,
        half_length_px=half_length_px,
        half_width_px=(2.4, 3.8),
    )
    return section


def lay_collagen(rng: np.random.Generator, fibres: Fibres, *, strength: float) -> Section:
    """Lay down collagen along a flow, with `strength` as the mean eosin amount."""
    size_px = len(fibres.along)
    thick = fibres.texture(rng, length_px=55, width_px=6)
    thin = fibres.texture(rng, length_px=16, width_px=1.7)
    grain = smooth_noise(rng, size_px, cell_px=2.6)
    patches = smooth_noise(rng, size_px, cell_px=45)
    eosin = strength * (1 + 0.2 * thick + 0.2 * thin + 0.13 * grain + 0.16 * patches)
    hematoxylin = 0.12 + 0.03 * thin + 0.03 * grain + 0.03 * patches
    return Section(hematoxylin=np.clip(hematoxylin, 0.01, 0.5), eosin=np.clip(eosin, 0.04, 1.4))


def add_spindles(
    section: Section,
    fibres: Fibres,
    *,
    rng: np.random.Generator,
    count: int,
    half_length_px: tuple[float, float],
    half_width_px: tuple[float, float],
) -> None:
    """Draw elongated nuclei along the flow, changing the section in place."""
    centres = anywhere(rng, len(section.eosin), count=count)
    angle = tangents(fibres.across, centres) + rng.normal(0, 0.1, count)
    blobs = Blobs.draw(rng, centres, long_px=half_length_px, short_px=half_width_px, angle=angle)
    add_nuclei(section, blobs, rng=rng, depth=(0.6, 1.15))


def add_stray_lymphocytes(section: Section, rng: np.random.Generator, *, count: int) -> None:
    """Draw small round dark nuclei anywhere, changing the section in place."""
    centres = anywhere(rng, len(section.eosin), count=count)
    blobs = Blobs.draw(rng, centres, long_px=(5.0, 6.2), short_px=(4.4, 5.6))
    add_nuclei(section, blobs, rng=rng, depth=(1.0, 1.4))


def anywhere(rng: np.random.Generator, size_px: int, *, count: int) -> Float64:
    """Draw points evenly over the tile and a little beyond: float64 [count, 2]."""
    return rng.uniform(-8, size_px + 8, (count, 2))
