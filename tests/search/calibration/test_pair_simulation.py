"""Pair probabilities and their intervals are true where the truth is known.

Tiles are those of the simulation of classes: normal around the mean of their class, shifted with
their group. The squared distance of two tiles of different groups is then a scaled chi-squared
number, noncentral where their classes differ.
"""

from typing import Final

import numpy as np
import pytest
from scipy.stats import ncx2

from histo_index.arrays import Float64
from histo_index.search.calibration.curve import farness
from histo_index.search.calibration.fit import fit
from histo_index.search.calibration.objectives import Objective
from histo_index.search.inputs.labelled_pairs import draw_pairs
from histo_index.search.inputs.sample import Sample
from tests.conftest import Tries
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


def sample_of(seed: int, *, groups: int, tiles: int) -> Sample:
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


def test_probabilities_of_new_pairs_are_true_to_two_hundredths() -> None:
    asked = np.sort(new_distances(20_000))
    truth = truth_at(asked)
    errors = []
    for seed in range(2):
        fitted = fit(sample_of(seed, groups=50, tiles=40), Objective(), rounds=2)
        gaps = fitted.curve.at(asked).probability - truth
        errors.append(np.mean([abs(part.mean()) for part in np.array_split(gaps, 15)]))
    assert np.mean(errors) <= 0.02, errors


@pytest.mark.parametrize(
    ("groups", "least", "most"), [(10, 0.90, 1.0), (20, 0.93, 0.97), (50, 0.93, 0.97)]
)
def test_intervals_hold_the_truth_as_often_as_they_say(
    groups: int, least: float, most: float, tries: Tries
) -> None:
    # Intervals of one data set are right or wrong together: few sets leave more to chance.
    sets, slack = tries(8, 1_000), tries(80, 5) / 1_000
    asked = np.quantile(new_distances(20_000), np.linspace(0.1, 0.9, 9))
    truth = truth_at(asked)
    shares = []
    for seed in range(sets):
        sample = sample_of(seed, groups=groups, tiles=10)
        found = fit(sample, Objective(), rounds=tries(60, 200)).curve.at(asked)
        shares.append(((found.low <= truth) & (truth <= found.high)).mean())
    assert least - slack <= np.mean(shares) <= most + slack
