"""A threshold lies where its objective is best, and pairs are judged by others than themselves."""

import numpy as np
import pytest
from scipy.interpolate import CubicSpline
from scipy.optimize import minimize
from sklearn.metrics import f1_score

from histo_index.arrays import Float64
from histo_index.errors import InputError
from histo_index.search.calibration.cross_validation import cross_validate, share_of
from histo_index.search.calibration.fit import fit, fit_threshold
from histo_index.search.calibration.objectives import (
    Objective,
    decision_probability,
    threshold_at_max_fpr,
)
from histo_index.search.calibration.platt import Bins, LogOdds, expit
from histo_index.search.inputs.sample import Sample, weigh_groups_alike
from tests.search.lines import line

TRUTH = line(6.0, 24.0)


def drawn(count: int, *, units: int = 200, prior: float | None = None, seed: int = 0) -> Sample:
    """Draw pairs whose probability of being the same is known at every distance."""
    generator = np.random.default_rng(seed)
    distances = generator.random(count) * 2
    is_same = generator.random(count) < expit(TRUTH.at(distances))
    left, right = generator.integers(0, units, (2, count))
    return Sample(
        distances=distances,
        is_same=is_same,
        units_a=left,
        units_b=right,
        prior=float(is_same.mean()) if prior is None else prior,
    )


def rate(sample: Sample, cut: float, wanted: bool) -> float:
    """Tell the share of the pairs of a kind that a cut calls the same."""
    return float((sample.distances <= cut)[sample.is_same == wanted].mean())


def test_the_curve_comes_back_from_many_pairs() -> None:
    sample = drawn(20_000)
    fitted = fit(sample, Objective(), rounds=20)
    distances = np.linspace(0.1, 1.9, 10)
    truth = expit(TRUTH.at(distances))
    found = fitted.curve.at(distances)
    assert found.probability == pytest.approx(truth, abs=0.02)
    assert (found.low < found.probability).all()
    assert (found.probability < found.high).all()
    # Accuracy is best where the same and the different are equally probable.
    assert fitted.threshold == pytest.approx(TRUTH.distance_at(0.0), abs=0.02)
    assert fitted.threshold_interval.low < fitted.threshold < fitted.threshold_interval.high


def test_the_curve_is_the_likeliest_natural_cubic_spline() -> None:
    sample = drawn(300, prior=0.3)
    weights = np.random.default_rng(1).poisson(1.0, 300).astype(np.float64)
    same, other = weights[sample.is_same].sum(), weights[~sample.is_same].sum()
    # Platt's labels: each counts partly as the other class.
    shares = np.where(sample.is_same, (same + 1) / (same + 2), 1 / (other + 2))
    importance = weights * np.where(sample.is_same, 0.3 / same, 0.7 / other)
    far = -np.log(1 - sample.distances / 4)
    # Where it may bend: the quantiles of all pairs at the prior, whatever was drawn.
    everyday = np.where(sample.is_same, 0.3 / sample.is_same.sum(), 0.7 / (~sample.is_same).sum())
    order = np.argsort(far)
    marks = np.searchsorted(np.cumsum(everyday[order]), [0.05, 0.35, 0.65, 0.95])
    knots = np.round(far[order][marks], 6)
    basis = CubicSpline(knots, np.eye(4), bc_type="natural")

    def columns(at: Float64) -> Float64:
        inside = at.clip(knots[0], knots[-1])
        found: Float64 = basis(inside) + (at - inside)[:, None] * basis(inside, 1)
        return found

    # A bend is what level and line leave of it; its pull is that of one unit.
    bent, plain = columns(far), np.stack([np.ones(300), far], axis=1)
    rest = (
        bent
        - plain
        @ np.linalg.lstsq(
            np.sqrt(everyday)[:, None] * plain, np.sqrt(everyday)[:, None] * bent, rcond=None
        )[0]
    )
    pull = (rest.T * everyday) @ rest / len(np.unique([sample.units_a, sample.units_b]))

    def loss(values: Float64) -> float:
        chances = expit(bent @ values)
        losses = shares * np.log(chances) + (1 - shares) * np.log(1 - chances)
        return float(-importance @ losses + values @ pull @ values / 2)

    best = minimize(loss, np.zeros(4), method="BFGS", options={"gtol": 1e-9}).x
    found = Bins(sample, Objective()).fit(weights)
    assert found is not None
    asked = np.linspace(0.05, 1.95, 20)
    expected = np.minimum.accumulate(columns(-np.log(1 - asked / 4)) @ best)
    assert found.at(asked) == pytest.approx(expected, abs=5e-3)


def test_labels_that_bend_the_curve_are_followed() -> None:
    # However near, one pair in six is different; however far, one in twenty is the same.
    generator = np.random.default_rng(0)
    distances = generator.random(20_000) * 2
    truth = 0.05 + 0.8 * expit(TRUTH.at(distances))
    is_same = generator.random(20_000) < truth
    left, right = generator.integers(0, 200, (2, 20_000))
    sample = Sample(
        distances=distances, is_same=is_same, units_a=left, units_b=right, prior=is_same.mean()
    )
    found = Bins(sample, Objective()).fit(np.ones(20_000))
    assert found is not None
    assert np.abs(expit(found.at(distances)) - truth).mean() < 0.02


def test_groups_of_different_sizes_count_alike() -> None:
    groups = np.repeat(np.arange(3), [1, 2, 4])
    left, right = np.array([0, 0, 1, 0, 1]), np.array([1, 2, 2, 1, 2])
    is_same = np.array([True, True, True, False, False])
    found = weigh_groups_alike(groups, left, right, is_same)
    assert found is not None
    # One by the sizes of both groups: 1/2, 1/4, 1/8 and 1/2, 1/8, each kind of mean 1.
    assert found == pytest.approx([12 / 7, 6 / 7, 3 / 7, 1.6, 0.4])
    assert weigh_groups_alike(np.repeat(np.arange(3), 2), left, right, is_same) is None


def test_classes_that_do_not_overlap_have_a_curve() -> None:
    distances = np.concatenate([np.linspace(0.1, 0.2, 50), np.linspace(0.7, 1.5, 50)])
    is_same = distances <= 0.2
    units = np.arange(100)
    sample = Sample(distances=distances, is_same=is_same, units_a=units, units_b=units, prior=0.5)
    assert 0.2 < fit_threshold(sample, Objective()) < 0.7


def test_a_curve_that_hardly_falls_has_its_distances_within_0_to_4() -> None:
    flat = line(0.1, 0.005)
    assert [flat.distance_at(value) for value in (8.0, 0.0, -8.0)] == pytest.approx(
        [0, 4, 4], abs=0.003
    )


def test_a_prior_moves_threshold_and_probabilities() -> None:
    sample = drawn(20_000)
    rare = fit_threshold(drawn(20_000, prior=0.1), Objective())
    assert (
        rare
        < fit_threshold(sample, Objective())
        < fit_threshold(drawn(20_000, prior=0.9), Objective())
    )
    # Bayes: the odds change by as much as the prior's odds do.
    share = sample.is_same.mean()
    shift = np.log(0.1 / 0.9) - np.log(share / (1 - share))
    assert rare == pytest.approx(TRUTH.distance_at(-shift), abs=0.02)


def test_balanced_accuracy_does_not_depend_on_the_prior() -> None:
    cuts = [
        fit_threshold(drawn(5_000, prior=prior), Objective(name="balanced-accuracy"))
        for prior in (0.2, 0.8)
    ]
    assert cuts[0] == pytest.approx(cuts[1], abs=0.02)
    sample = drawn(5_000)
    best = max(rate(sample, cut, True) - rate(sample, cut, False) for cut in np.linspace(0, 2, 400))
    assert rate(sample, cuts[0], True) - rate(sample, cuts[0], False) > best - 0.02


def test_f1_is_the_best_over_all_thresholds() -> None:
    sample = drawn(5_000)
    cut = fit_threshold(sample, Objective(name="f1"))
    every = [f1_score(sample.is_same, sample.distances <= c) for c in np.linspace(0.01, 2, 200)]
    assert f1_score(sample.is_same, sample.distances <= cut) > max(every) - 0.01


def test_a_false_positive_rate_is_kept_and_no_further_than_needed() -> None:
    sample = drawn(5_000)
    cut = fit_threshold(sample, Objective(max_false_positive_rate=0.05))
    assert 0.045 < rate(sample, cut, False) <= 0.05


def test_costs_give_the_probability_at_which_both_errors_cost_the_same() -> None:
    dear = Objective(costs=(9, 1))
    assert decision_probability(dear, 0.5, np.empty(0), np.empty(0)) == pytest.approx(0.9)
    sample = drawn(20_000)
    expected = TRUTH.distance_at(np.log(9))
    assert fit_threshold(sample, dear) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize(
    ("distances", "most", "expected"),
    [
        ([0.1, 0.2, 0.3, 0.4], 0.5, 0.25),
        ([0.1, 0.2, 0.2, 0.4], 0.5, 0.15),  # equal distances stand or fall together
        ([0.1, 0.2], 0.4, 0.05),
        ([0.1, 0.2], 0.99, 0.15),
    ],
)
def test_a_limited_cut_is_worked_out_by_hand(
    distances: list[float], most: float, expected: float
) -> None:
    found = threshold_at_max_fpr(np.array(distances), np.ones(len(distances)), most)
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "auc"}, "unknown objective auc; expected one of accuracy, balanced-accuracy, f1"),
        ({"prior": 1.0}, "prior is 1.0; expected a share between 0 and 1"),
        ({"prior": float("nan")}, "prior is nan"),
        ({"max_false_positive_rate": 0.0}, "max false positive rate is 0.0"),
        ({"costs": (0, 1)}, r"costs are \(0, 1\); expected two numbers above 0"),
        ({"name": "f1", "costs": (1, 1)}, "several objectives; pass one of them"),
    ],
)
def test_objectives_that_make_no_sense_are_refused(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Objective(**options)  # type: ignore[arg-type]


def test_same_pairs_that_are_not_nearer_are_refused() -> None:
    sample = drawn(500)
    upside_down = Sample(**{**sample.__dict__, "is_same": ~sample.is_same})
    with pytest.raises(InputError, match="same pairs are not nearer than different ones"):
        fit(upside_down, Objective(), rounds=2)


def test_bins_change_the_curve_by_next_to_nothing() -> None:
    sample = drawn(4_000)
    ones = np.ones(4_000)
    binned = Bins(sample, Objective()).fit(ones)
    few = np.round(sample.distances, 3)
    exact = Bins(Sample(**{**sample.__dict__, "distances": few}), Objective()).fit(ones)
    assert binned is not None
    assert exact is not None
    at = np.linspace(0, 2, 9)
    assert expit(binned.at(at)) == pytest.approx(expit(exact.at(at)), abs=2e-3)


def test_no_pair_is_tested_with_a_threshold_fitted_on_its_groups() -> None:
    # Every pair is between two of 12 groups, which decide alone how far its tiles are apart and
    # what they are called: whoever fits on all pairs is right more often than one who may not see.
    generator = np.random.default_rng(3)
    left, right = np.triu_indices(12, 1)
    distances = generator.random(len(left)) * 2
    is_same = generator.random(len(left)) < 0.5
    sample = Sample(distances=distances, is_same=is_same, units_a=left, units_b=right, prior=0.5)
    seen: list[set[int]] = []
    original = Bins.threshold

    def watched(self: Bins, fitted: LogOdds, weights: Float64) -> float:
        seen.append(set(np.round(4 - 4 * np.exp(-self._farness), 9).tolist()))
        return original(self, fitted, weights)

    Bins.threshold = watched  # type: ignore[method-assign]
    try:
        cross_validate(sample, Objective())
    finally:
        Bins.threshold = original  # type: ignore[method-assign]
    assert seen
    for used in seen:
        units = {int(u) for d, a, b in zip(distances, left, right, strict=True)
                 if round(float(d), 9) in used for u in (a, b)}  # fmt: skip
        # Twelve units are dealt to ten folds: two folds are always left out.
        assert len(units) <= 10


def test_cross_validated_accuracy_is_that_of_new_pairs() -> None:
    sample = drawn(2_000)
    called, is_judged = cross_validate(sample, Objective())
    assert is_judged.all()
    share, ends = share_of(sample, called == sample.is_same, is_judged, rounds=100)
    new = drawn(20_000, seed=9)
    truth = ((new.distances <= fit_threshold(sample, Objective())) == new.is_same).mean()
    assert share == pytest.approx(truth, abs=0.02)
    assert ends.low < truth < ends.high


def test_share_weights_pairs_by_the_prior() -> None:
    sample = drawn(1_000, prior=0.2)
    share, _ = share_of(sample, sample.is_same, np.ones(1_000, bool), rounds=10)
    assert share == pytest.approx(0.2)


@pytest.mark.parametrize("kind", [True, False])
def test_pairs_of_one_kind_determine_no_threshold(kind: bool) -> None:
    sample = Sample(
        distances=np.linspace(0.1, 2, 20),
        is_same=np.full(20, kind),
        units_a=np.arange(20),
        units_b=np.arange(20, 40),
        prior=0.5,
    )
    with pytest.raises(InputError, match="do not separate them"):
        fit(sample, Objective())
