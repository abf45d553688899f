"""The figures of class probabilities are those of their formulas, groups weighted equally."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from histo_index.arrays import Float64
from histo_index.search.classification.held_out import split_groups
from histo_index.search.classification.measure import measure_classes

NAMES = ["fat", "gland", "stroma"]


def drawn(*, groups: int = 40) -> tuple[Float64, np.ndarray, np.ndarray]:
    """Draw probabilities [n, 3], classes that follow them, and groups of 1 to 20 tiles."""
    generator = np.random.default_rng(3)
    own = np.repeat(np.arange(groups), generator.integers(1, 21, groups))
    shares = generator.dirichlet(np.ones(3), len(own))
    classes = (generator.random((len(own), 1)) > np.cumsum(shares, axis=1)).sum(axis=1)
    return shares, classes.clip(max=2), own


def test_figures_are_those_of_their_formulas() -> None:
    shares, classes, groups = drawn()
    priors = np.tile([0.5, 0.3, 0.2], (len(classes), 1))
    found = measure_classes(shares, classes, groups, NAMES, priors)
    each = np.arange(len(classes))
    weights = 1 / np.bincount(groups)[groups]
    expected = {
        "accuracy": shares.argmax(axis=1) == classes,
        "log_loss": -np.log(shares[each, classes]),
        "prior_log_loss": -np.log(priors[each, classes]),
    }
    for name, values in expected.items():
        figure = getattr(found, name)
        assert figure.value == pytest.approx(np.average(values, weights=weights)), name
        assert figure.low < figure.value < figure.high, name
    for code, name in enumerate(NAMES):
        errors = shares[:, code] - (classes == code)
        assert found.mean_errors[name].value == pytest.approx(np.average(errors, weights=weights))
    assert (found.tiles, found.groups) == (len(classes), 40)


def test_the_slope_is_that_of_a_logistic_regression() -> None:
    shares, classes, groups = drawn()
    said = shares.ravel().clip(1e-6, 1 - 1e-6)
    odds = np.log(said / (1 - said))[:, None]
    is_true = (classes[:, None] == np.arange(3)).ravel()
    theirs = LogisticRegression(C=1e12, tol=1e-10, max_iter=1_000).fit(
        odds, is_true, np.repeat(1 / np.bincount(groups)[groups], 3)
    )
    slope = measure_classes(shares, classes, groups, NAMES, shares).slope
    assert slope.value == pytest.approx(theirs.coef_[0, 0], rel=1e-4)
    assert slope.low is not None
    assert slope.high is not None
    assert slope.low < 1 < slope.high
    powers = shares**2
    extreme = powers / powers.sum(axis=1, keepdims=True)
    assert (measure_classes(extreme, classes, groups, NAMES, shares).slope.high or 1) < 0.8


def test_a_probability_of_zero_is_not_an_infinite_loss() -> None:
    shares, classes, groups = drawn()
    shares[0] = np.eye(3)[(classes[0] + 1) % 3]
    found = measure_classes(shares, classes, groups, NAMES, shares)
    assert found.log_loss.value is not None
    assert 0 < found.log_loss.value < 20
    assert found.slope.value is not None


def test_a_group_is_in_one_fold_and_a_rare_class_in_several() -> None:
    # Groups 0 to 29 have tiles of class 0; five of them also the only ones of class 1.
    groups = np.concatenate([np.repeat(np.arange(30), 4), [3, 8, 9, 21, 27]])
    classes = np.concatenate([np.zeros(120, np.int64), np.ones(5, np.int64)])
    folds = split_groups(groups, classes)
    for group in range(30):
        assert len(set(folds[groups == group].tolist())) == 1
    assert sorted(folds[classes == 1].tolist()) == [0, 1, 2, 3, 4]
    assert np.bincount(folds[:120:4]).tolist() == [6, 6, 6, 6, 6]
    assert split_groups(groups, classes).tolist() == folds.tolist()
    assert set(split_groups(groups % 3, classes).tolist()) == {0, 1, 2}
