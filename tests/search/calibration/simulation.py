"""Pairs of known probability.

Tiles are those of the simulation of classes: normal around the mean of their class, shifted with
their group. The squared distance of two tiles of different groups is then a scaled chi-squared
number, noncentral where their classes differ.
"""

from typing import Final

import numpy as np
from scipy.stats import ncx2

from histo_index.arrays import Float64
from histo_index.search.calibration.curve import farness
from histo_index.search.inputs.row_pairs import draw_pairs
from histo_index.search.inputs.sample import Sample
from tests.search.classification.simulation import (
    CLASSES,
    GROUP_SPREAD,
    MEANS,
    SHARES,
    SIZE,
    simulate,
)

# Variance of the difference of two tiles, in each direction.
SPREAD: Final = 2 * (1 + GROUP_SPREAD**2)
# Squared lengths become distances from 0 to 4; their farness is this part of them.
PART: Final = 1 / 40
FIRST, SECOND = np.nonzero(~np.eye(CLASSES, dtype=bool))
OFFSETS: Final = ((MEANS[FIRST] - MEANS[SECOND]) ** 2).sum(axis=1) / SPREAD
OFTEN: Final = SHARES[FIRST] * SHARES[SECOND] / (SHARES[FIRST] * SHARES[SECOND]).sum()


def distances_of(squares: Float64) -> Float64:
    found: Float64 = 4 * (1 - np.exp(-PART * squares))
    return found


def truth_at(distances: Float64) -> Float64:
    """Compute the probability of "same", if half of the pairs are."""
    units = farness(distances) / PART / SPREAD
    same = ncx2.pdf(units, SIZE, 0)
    different = ncx2.pdf(units[:, None], SIZE, OFFSETS) @ OFTEN
    found: Float64 = same / (same + different)
    return found


def simulate_pairs(seed: int, *, groups: int, tiles: int) -> Sample:
    known = simulate(seed, groups=groups, tiles=tiles)
    left, right, is_same = draw_pairs(known.classes, known.groups, seed=seed)
    squares = ((known.points[left] - known.points[right]) ** 2).sum(axis=1)
    return Sample(
        distances=distances_of(squares), is_same=is_same,
        units_a=known.groups[left], units_b=known.groups[right], prior=0.5,
    )  # fmt: skip


def new_distances(count: int) -> Float64:
    """Draw distances of pairs of new groups, half of them same."""
    generator = np.random.default_rng(7)
    offsets = np.where(
        generator.random(count) < 0.5, 0.0, generator.choice(OFFSETS, count, p=OFTEN)
    )
    return distances_of(SPREAD * generator.noncentral_chisquare(SIZE, offsets))
