"""Tissues without much architecture: lymphocytes, mucus, necrosis, and bare glass."""

from __future__ import annotations

import numpy as np

from histo_index.arrays import Float64
from histo_index.demo.cells import Blobs, Section, add_nuclei, draw_blobs
from histo_index.demo.fibrous import anywhere, lay_collagen
from histo_index.demo.textures import Fibres, fade, pixel_grid, scatter, smooth_noise


def paint_lymphocytes(rng: np.random.Generator, size_px: int) -> Section:
    """Paint a sheet of small round dark nuclei, each with a thin rim of cytoplasm."""
    fibres = Fibres.draw(rng, size_px, wave_px=10, wave_cell_px=50)
    section = lay_collagen(rng, fibres, strength=rng.uniform(0.12, 0.35))
    pale = fade(smooth_noise(rng, size_px, cell_px=14), start=0.7, stop=1.6)
    section.cover(pale, hematoxylin=0.03, eosin=0.05)
    centres = scatter(rng, size_px, spacing_px=rng.uniform(12.5, 16), jitter=0.24)
    # Density rises and falls over the tile; a strand of stroma may cross it.
    crowd = rng.uniform(0.5, 1.1) + 0.16 * smooth_noise(rng, size_px, cell_px=50)
    strand = fibres.across - size_px * rng.uniform(-1.5, 1.5)
    crowd = crowd * fade(np.abs(strand), start=8, stop=20)
    column, row = np.clip(centres.T.astype(np.int64), 0, size_px - 1)
    centres = centres[rng.random(len(centres)) < crowd[row, column]]
    blobs = Blobs.draw(rng, centres, long_px=(5.2, 6.8), short_px=(4.6, 6.0))
    section.cover(
        draw_blobs(rng, blobs.grown(1.8), size_px=size_px),
        hematoxylin=0.22,
        eosin=rng.uniform(0.3, 0.5),
    )
    add_nuclei(section, blobs, rng=rng, depth=(0.95, 1.45), rim=0.15, clumps=0.25)
    return section


def paint_mucus(rng: np.random.Generator, size_px: int) -> Section:
    """Paint pale bluish pools that stream, with a few cells afloat in them."""
    fibres = Fibres.draw(
        rng, size_px, wave_px=rng.uniform(12, 26), wave_cell_px=rng.uniform(45, 80)
    )
    broad = fibres.texture(rng, length_px=90, width_px=rng.uniform(14, 26))
    strands = fibres.texture(rng, length_px=45, width_px=rng.uniform(4, 7))
    threads = fade(fibres.texture(rng, length_px=28, width_px=1.8), start=0.8, stop=2.4)
    threads *= fade(smooth_noise(rng, size_px, cell_px=24), start=-0.3, stop=1.2)
    cloud = smooth_noise(rng, size_px, cell_px=18)
    grain = smooth_noise(rng, size_px, cell_px=2.4)
    depth = rng.uniform(0.12, 0.24)
    wisps = 0.22 * broad + 0.2 * strands + 0.25 * cloud + 0.14 * grain + 1.3 * threads
    section = Section(
        hematoxylin=np.clip(depth * (1 + wisps), 0.02, 0.7),
        eosin=np.clip(0.07 + 0.03 * broad + 0.015 * grain + 0.08 * threads, 0.01, 0.4),
    )
    # Bubbles: pale with a faint outline.
    centres = anywhere(rng, size_px, count=int(rng.uniform(0, 0.0006) * size_px**2))
    bubbles = Blobs.draw(rng, centres, long_px=(4, 14), short_px=(4, 11))
    walls = draw_blobs(rng, bubbles, size_px=size_px, wobble=0.15)
    section.cover(walls, hematoxylin=section.hematoxylin * (1.25 - 0.6 * walls), eosin=0.05)
    _add_floating_cells(section, rng, count=int(rng.uniform(2, 14) * (size_px / 256) ** 2))
    return section


def _add_floating_cells(section: Section, rng: np.random.Generator, *, count: int) -> None:
    size_px = len(section.eosin)
    # Half of the cells keep together in one or two clumps.
    clumps = anywhere(rng, size_px, count=2)
    centres = anywhere(rng, size_px, count=count)
    grouped = rng.random(count) < 0.5
    spots = clumps[rng.integers(0, 2, count)] + rng.normal(0, 14, (count, 2))
    centres = np.where(grouped[:, None], spots, centres)
    bodies = Blobs.draw(rng, centres, long_px=(6, 11), short_px=(5, 8))
    section.cover(
        0.8 * draw_blobs(rng, bodies, size_px=size_px),
        hematoxylin=0.2,
        eosin=rng.uniform(0.2, 0.45),
    )
    nuclei = Blobs.draw(rng, centres, long_px=(3.5, 5.5), short_px=(2.8, 4.2))
    add_nuclei(section, nuclei, rng=rng, depth=(0.8, 1.3))


def paint_necrosis(rng: np.random.Generator, size_px: int) -> Section:
    """Paint granular smudgy eosin with dark nuclear dust and ghosts of cells."""
    patches = smooth_noise(rng, size_px, cell_px=40)
    smudge = smooth_noise(rng, size_px, cell_px=9)
    grain = smooth_noise(rng, size_px, cell_px=3.2) + 0.8 * smooth_noise(rng, size_px, cell_px=1.7)
    eosin = rng.uniform(0.5, 0.85) * (1 + 0.13 * patches + 0.13 * smudge + 0.13 * grain)
    hematoxylin = rng.uniform(0.12, 0.26) * (1 + 0.3 * patches + 0.2 * smudge + 0.2 * grain)
    section = Section(hematoxylin=np.clip(hematoxylin, 0, 1), eosin=np.clip(eosin, 0.05, 1.4))
    _add_ghosts(section, rng)
    ragged = smooth_noise(rng, size_px, cell_px=16) + 0.2 * grain
    start = rng.uniform(1.3, 2.6)
    section.cover(fade(ragged, start=start, stop=start + 0.5), hematoxylin=0.03, eosin=0.06)
    _add_nuclear_dust(section, rng)
    return section


def _add_ghosts(section: Section, rng: np.random.Generator) -> None:
    size_px = len(section.eosin)
    # Dead cells keep an outline and lose their nucleus; in places not even that is left.
    centres = scatter(rng, size_px, spacing_px=rng.uniform(17, 25), jitter=0.28)
    column, row = np.clip(centres.T.astype(np.int64), 0, size_px - 1)
    kept = smooth_noise(rng, size_px, cell_px=45)[row, column] > rng.uniform(-1.2, 0.6)
    cells = Blobs.draw(rng, centres[kept], long_px=(8, 12), short_px=(7, 9.5))
    outside = draw_blobs(rng, cells.grown(1.5), size_px=size_px, wobble=0.0)
    body = draw_blobs(rng, cells.grown(-1.5), size_px=size_px, wobble=0.0, depth=(0.4, 1.0))
    section.eosin = section.eosin * (1 + 0.35 * outside - 0.6 * body)
    section.hematoxylin = section.hematoxylin * (1 + 0.3 * outside - 0.5 * body)
    nuclei = draw_blobs(rng, cells.grown(-4.5), size_px=size_px, depth=(0.0, 0.2))
    section.hematoxylin = section.hematoxylin + nuclei


def _add_nuclear_dust(section: Section, rng: np.random.Generator) -> None:
    size_px = len(section.eosin)
    # Fragments lie in heaps: where one nucleus burst, several pieces remain.
    heaps = anywhere(rng, size_px, count=int(rng.uniform(0.0006, 0.0022) * size_px**2))
    sizes = rng.integers(1, 7, len(heaps))
    centres = np.repeat(heaps, sizes, axis=0)
    centres = centres + rng.normal(0, 4, centres.shape)
    dust = Blobs.draw(rng, centres, long_px=(0.9, 2.8), short_px=(0.8, 2.0))
    add_nuclei(section, dust, rng=rng, depth=(0.4, 1.3), rim=0.0)
    shrunken = anywhere(rng, size_px, count=int(rng.uniform(0.0001, 0.0005) * size_px**2))
    pyknotic = Blobs.draw(rng, shrunken, long_px=(3.2, 4.8), short_px=(2.6, 4.0))
    add_nuclei(section, pyknotic, rng=rng, depth=(0.7, 1.4), rim=0.0)


def paint_background(rng: np.random.Generator, size_px: int) -> Section:
    """Paint nearly empty glass: shading, dust, at times a sliver of tissue at the edge."""
    x, y = pixel_grid(size_px)
    turn = rng.uniform(0, 2 * np.pi)
    slope = ((x - size_px / 2) * np.cos(turn) + (y - size_px / 2) * np.sin(turn)) / size_px
    shading = 0.012 + 0.012 * slope + 0.003 * smooth_noise(rng, size_px, cell_px=60)
    section = Section(hematoxylin=np.clip(shading, 0, 1), eosin=np.clip(shading, 0, 1))
    if rng.random() < 0.4:
        _add_tissue_edge(section, rng, slope=slope)
    specks = Blobs.draw(
        rng,
        anywhere(rng, size_px, count=int(rng.uniform(0, 14) * (size_px / 256) ** 2)),
        long_px=(0.8, 3.0),
        short_px=(0.7, 2.0),
    )
    add_nuclei(section, specks, rng=rng, depth=(0.1, 0.8), rim=0.0)
    smears = Blobs.draw(rng, anywhere(rng, size_px, count=3), long_px=(12, 40), short_px=(8, 22))
    blurred = draw_blobs(rng, smears, size_px=size_px, depth=(0.0, 1.0), rim=0.7)
    section.hematoxylin = section.hematoxylin + 0.02 * blurred
    return section


def _add_tissue_edge(section: Section, rng: np.random.Generator, *, slope: Float64) -> None:
    size_px = len(section.eosin)
    fibres = Fibres.draw(rng, size_px, wave_px=10, wave_cell_px=50)
    tissue = lay_collagen(rng, fibres, strength=rng.uniform(0.3, 0.6))
    ragged = (
        slope
        + 0.02 * smooth_noise(rng, size_px, cell_px=30)
        + 0.01 * smooth_noise(rng, size_px, cell_px=7)
    )
    start = rng.uniform(0.4, 0.52)
    section.cover(
        fade(ragged, start=start, stop=start + 0.02),
        hematoxylin=tissue.hematoxylin,
        eosin=tissue.eosin,
    )
