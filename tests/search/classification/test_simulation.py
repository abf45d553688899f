"""The fit is the optimum that it claims, and few groups have no intervals."""

import numpy as np

from histo_index.search.classification.fit import FEWEST_FOR_INTERVALS
from histo_index.search.classification.layer import probabilities
from tests.search.classification.simulation import CLASSES, ask, fit_to, held_out, simulate


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


def test_fewer_than_ten_groups_have_no_intervals() -> None:
    known = simulate(0, groups=FEWEST_FOR_INTERVALS - 1, tiles=20)
    gallery, fitted = fit_to(known)
    found = ask(gallery, fitted, known, simulate(1, groups=10, tiles=2))
    assert fitted.covariance is None
    assert np.isnan([found.lows, found.highs]).all()
    assert np.allclose(found.values.sum(axis=1), 1)
