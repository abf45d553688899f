"""Class probabilities and their intervals are true where the truth is known."""

import itertools
from collections.abc import Iterator
from typing import Final

import numpy as np
import pytest

from histo_index.arrays import Bools, Float64
from histo_index.search.classification.fit import FEWEST_FOR_INTERVALS
from histo_index.search.classification.intervals import Chances
from histo_index.search.classification.layer import probabilities
from tests.conftest import Tries
from tests.search.classification.simulation import CLASSES, ask, fit_to, held_out, simulate

# Probabilities between which an interval is compared with the share that is of the class.
EDGES: Final = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98)
# With fewer queries between two edges the truth itself is not known well.
FEWEST: Final = 30


def calibration_error(found: Chances, truth: Float64, *, bins: int = 15) -> float:
    """Compute the calibration error of the likeliest class in bins of equal size."""
    best = found.values.argmax(axis=1)
    each = np.arange(len(best))
    said, true = found.values[each, best], truth[each, best]
    parts = np.array_split(np.argsort(said), bins)
    return float(np.mean([abs((said[part] - true[part]).mean()) for part in parts]))


def test_probabilities_of_new_groups_are_true_to_two_hundredths() -> None:
    errors, losses = [], []
    for seed in range(2):
        known = simulate(seed, groups=50, tiles=40)
        gallery, fitted = fit_to(known)
        asked = simulate(1_000_000 + seed, groups=4_000, tiles=5)
        assert len(asked.classes) == 20_000
        found, truth = ask(gallery, fitted, known, asked), asked.truth
        errors.append(calibration_error(found, truth))
        losses.append(-np.log(found.values / truth)[np.arange(20_000), asked.classes].mean())
    assert np.mean(errors) <= 0.02, errors
    # Nearly as good as the truth itself, which is no prior: that loses 0.5 more.
    assert 0 < np.mean(losses) < 0.05, losses


def test_on_held_out_tiles_the_likely_is_as_frequent_as_it_is_said() -> None:
    # These sums are zero at the optimum of the log loss, but for the pull to the neutral settings.
    known = simulate(0, groups=50, tiles=40)
    gallery, fitted = fit_to(known)
    evidence = fitted.evidence(gallery, held_out(known))
    chances = probabilities(fitted.parameters, evidence, fitted.priors)
    gaps = chances - (known.classes[:, None] == np.arange(CLASSES))
    # Of each class, and of the classes of the ten nearest and of the nearest tiles.
    assert np.abs(gaps.mean(axis=0)).max() < 0.002
    assert np.abs((evidence[:, 1:] * gaps[:, None]).sum(axis=2).mean(axis=0)).max() < 0.002
    # Nor are probabilities too extreme or too cautious.
    assert abs((evidence[:, 0] * gaps).sum(axis=1).mean()) < 0.002


def is_held(seed: int, *, groups: int, tiles: int, queries: int) -> Iterator[bool]:
    """Check intervals of one data set: does each hold the share that is of the class?"""
    known = simulate(seed, groups=groups, tiles=tiles)
    gallery, fitted = fit_to(known)
    asked = simulate(1_000_000 + seed, groups=queries // 5, tiles=5)
    found, truth = ask(gallery, fitted, known, asked), asked.truth
    for code in range(CLASSES):
        said = found.values[:, code]
        for low, high in itertools.pairwise(EDGES):
            inside: Bools = (said > low) & (said <= high)
            if inside.sum() < FEWEST:
                continue
            middle = np.flatnonzero(inside)[np.abs(said[inside] - said[inside].mean()).argmin()]
            share = said[middle] + (truth[inside, code] - said[inside]).mean()
            yield bool(found.lows[middle, code] <= share <= found.highs[middle, code])


@pytest.mark.parametrize(
    ("groups", "least", "most"), [(10, 0.90, 1.0), (20, 0.93, 0.97), (50, 0.93, 0.97)]
)
def test_intervals_hold_the_share_of_new_groups_as_often_as_they_say(
    groups: int, least: float, most: float, tries: Tries
) -> None:
    # Intervals of one data set are right or wrong together: few sets leave more to chance.
    sets, slack = tries(12, 1_000), tries(50, 5) / 1_000
    shares = [
        np.mean(list(is_held(seed, groups=groups, tiles=10, queries=3_000))) for seed in range(sets)
    ]
    assert least - slack <= np.mean(shares) <= most + slack


def test_fewer_than_ten_groups_have_no_intervals() -> None:
    known = simulate(0, groups=FEWEST_FOR_INTERVALS - 1, tiles=20)
    gallery, fitted = fit_to(known)
    found = ask(gallery, fitted, known, simulate(1, groups=10, tiles=2))
    assert fitted.covariance is None
    assert np.isnan([found.lows, found.highs]).all()
    assert np.allclose(found.values.sum(axis=1), 1)
