"""Weighted Platt scaling."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from histo_index.arrays import Float64
from histo_index.search.calibration.curve import farness
from histo_index.search.calibration.objectives import (
    Objective,
    decision_probability,
    threshold_at_max_fpr,
)
from histo_index.search.inputs.sample import Sample

# Distances beyond this many are put in bins of equally many; the curve moves by less than 0.001.
_MOST_POINTS: Final = 512
# Log-odds that move by less are found; it takes five to twenty steps.
_CLOSE_ENOUGH: Final = 1e-4
_MOST_STEPS: Final = 100


@dataclass(frozen=True, kw_only=True)
class Sigmoid:
    """Log-odds of "same": `intercept - slope · farness(distance)`, falling."""

    intercept: float
    slope: float

    def log_odds(self, distances: "Float64 | float") -> Float64:
        """Compute log-odds at distances [n], float64 [n]."""
        return self.intercept - self.slope * farness(distances)

    def distance_at(self, log_odds: Float64) -> Float64:
        """Invert `log_odds`, float64 [n], within 0…4."""
        # Above 0, likelier than at distance 0: nothing is, and its power may be too large to tell.
        exponents = np.minimum((log_odds - self.intercept) / self.slope, 0)
        distances: Float64 = 4 * (1 - np.exp(exponents))
        return distances


class Bins:
    """Distances of a sample in bins, so that hundreds of bootstrap fits take seconds."""

    def __init__(self, sample: Sample, objective: Objective) -> None:
        self._objective = objective
        self._prior = sample.prior
        self._drawn = sample.counts
        codes = _bin_codes(sample.distances)
        # One series of bins for the different pairs and one for the same.
        self._codes = codes + sample.is_same * (codes.max() + 1)
        self._used, self._codes = np.unique(self._codes, return_inverse=True)
        counts = np.bincount(self._codes)
        self._farness = np.bincount(self._codes, farness(sample.distances)) / counts
        self._is_same = self._used > codes.max()
        self._order = np.argsort(sample.distances, kind="stable")
        self._order = self._order[~sample.is_same[self._order]]
        self._others = sample.distances[self._order]

    def sigmoid(self, weights: Float64) -> Sigmoid | None:
        """Fit by weights of the pairs, float64 [P]; None where "same" is not the nearer class.

        Each label is moved a little to the other class, as if a pair more of each had been seen,
        so that classes that do not overlap have a finite curve.

        Source: Platt (1999), Probabilistic outputs for support vector machines, section 2.2.
        """
        weights = weights * self._drawn
        counts = np.bincount(self._codes, weights, minlength=len(self._farness))
        same, other = counts[self._is_same].sum(), counts[~self._is_same].sum()
        if not (same > 0 and other > 0):
            return None
        shares = np.where(self._is_same, (same + 1) / (same + 2), 1 / (other + 2))
        importance = self._weigh(weights)
        return _fit_sigmoid(self._farness, shares, importance)

    def _weigh(self, weights: Float64) -> Float64:
        """Weight every bin by its pairs, the two classes in the shares of the prior."""
        found = np.bincount(self._codes, weights, minlength=len(self._farness))
        same, other = found[self._is_same].sum(), found[~self._is_same].sum()
        total = same + other
        shares = np.where(
            self._is_same, self._prior * total / same, (1 - self._prior) * total / other
        )
        weighed: Float64 = found * shares
        return weighed

    def threshold(self, sigmoid: Sigmoid, weights: Float64) -> float:
        """Choose the threshold by the objective: a squared distance."""
        weights = weights * self._drawn
        most = self._objective.max_false_positive_rate
        if most is not None:
            return threshold_at_max_fpr(self._others, weights[self._order], most)
        counts = self._weigh(weights)
        probabilities = expit(sigmoid.intercept - sigmoid.slope * self._farness)
        probability = decision_probability(self._objective, self._prior, probabilities, counts)
        log_odds = np.log(probability / (1 - probability))
        return float(sigmoid.distance_at(np.array([log_odds]))[0])


def _bin_codes(distances: Float64) -> npt.NDArray[np.int64]:
    values, codes = np.unique(distances, return_inverse=True)
    if len(values) <= _MOST_POINTS:
        return codes.astype(np.int64)
    edges = np.unique(np.quantile(distances, np.linspace(0, 1, _MOST_POINTS + 1))[1:-1])
    return np.searchsorted(edges, distances, side="right").astype(np.int64)


def _fit_sigmoid(features: Float64, shares: Float64, weights: Float64) -> Sigmoid | None:
    """Fit log-odds that fall with the distance by maximum likelihood; None if they do not.

    Args:
        features: float64 [n], farness.
        shares: float64 [n], how much of each counts as same, above 0 and below 1.
        weights: float64 [n].
    """
    center, scale = float(np.average(features, weights=weights)), float(features.std())
    if not scale > 0:
        return None
    found = _fit_line((center - features) / scale, shares, weights / weights.sum())
    if found is None or not found[1] > 0:
        return None
    slope = found[1] / scale
    return Sigmoid(intercept=found[0] + slope * center, slope=slope)


def _fit_line(features: Float64, shares: Float64, weights: Float64) -> tuple[float, float] | None:
    """Fit log-odds that are a line by Newton's method: level and slope; None if not determined.

    Hundreds of drawings want a fit each, for which scikit-learn's logistic regression, which the
    tests compare it with, is too slow.

    Source: Sun and Tran-Dinh (2019), Generalized self-concordant functions, Mathematical
    Programming 178: steps this short always converge, and as fast as Newton's near the end.
    """
    ends, squares = np.array([features.min(), features.max()]), features**2
    found = np.zeros(2)
    for _ in range(_MOST_STEPS):
        chances = expit(found[0] + found[1] * features)
        gaps, curvature = weights * (shares - chances), weights * chances * (1 - chances)
        # Two unknowns: by hand, since a library's call takes longer than all the rest.
        a, b, c = curvature.sum(), curvature @ features, curvature @ squares
        up, right = gaps.sum(), gaps @ features
        if not a * c - b * b > 0:
            return None
        step = np.array([c * up - b * right, a * right - b * up]) / (a * c - b * b)
        reach = float(np.abs(step[0] + step[1] * ends).max())
        found += step * (np.log1p(reach) / reach if reach else 1.0)
        if reach < _CLOSE_ENOUGH:
            break
    return float(found[0]), float(found[1])


def expit(log_odds: Float64) -> Float64:
    """Turn log-odds into probabilities."""
    with np.errstate(over="ignore"):
        probability: Float64 = 1 / (1 + np.exp(-log_odds))
    return probability
