"""The fit is the optimum that it claims, and few groups have no intervals."""

import numpy as np

from histo_index.search.classification.fit import FEWEST_FOR_INTERVALS, fit_classes
from histo_index.search.classification.kernel import Gallery
from histo_index.search.classification.layer import PULL, probabilities
from tests.search.classification.simulation import CLASSES, ask, fit_to, held_out, simulate


def test_on_held_out_tiles_the_likely_is_as_frequent_as_it_is_said() -> None:
    known = simulate(0, groups=50, tiles=40)
    gallery, fitted = fit_to(known)
    evidence = fitted.evidence(gallery, held_out(known))
    chances = probabilities(fitted.parameters, evidence, fitted.priors)
    gaps = chances - (known.classes[:, None] == np.arange(CLASSES))
    offsets, (density, *votes) = np.split(fitted.parameters, [CLASSES])
    # At the optimum the sums are what the pull to the neutral settings leaves, two groups of fifty.
    # Of each class, and of the classes of the ten nearest and of the nearest tiles.
    np.testing.assert_allclose(gaps.mean(axis=0), -2 / 50 * offsets, atol=1e-5)
    sums = (evidence[:, 1:] * gaps[:, None]).sum(axis=2).mean(axis=0)
    np.testing.assert_allclose(sums, -2 / 50 * np.array(votes), atol=1e-5)
    assert np.abs(gaps.mean(axis=0)).max() < 0.01
    # Nor are probabilities too extreme or too cautious.
    extremes = (evidence[:, 0] * gaps).sum(axis=1).mean()
    np.testing.assert_allclose(extremes, -1e-4 * (density - 1), atol=1e-5)


def test_a_strong_pull_leaves_the_density_alone_to_decide() -> None:
    known = simulate(0, groups=10, tiles=10)
    gallery = Gallery(known.classes, known.groups, CLASSES)
    distances = held_out(known)
    strong, usual = (
        fit_classes(gallery, distances, known.classes, known.groups, pull=pull)
        for pull in (1e6, PULL)
    )
    offsets, (density, *votes) = np.split(strong.parameters, [CLASSES])
    assert np.abs([*offsets, *votes]).max() < 1e-4
    assert density > 1
    assert np.abs(usual.parameters[:CLASSES]).max() > 0.01
    assert usual.loss < strong.loss


def test_fewer_than_ten_groups_have_no_intervals() -> None:
    known = simulate(0, groups=FEWEST_FOR_INTERVALS - 1, tiles=20)
    gallery, fitted = fit_to(known)
    found = ask(gallery, fitted, known, simulate(1, groups=10, tiles=2))
    assert fitted.covariance is None
    assert np.isnan([found.lows, found.highs]).all()
    assert np.allclose(found.values.sum(axis=1), 1)
