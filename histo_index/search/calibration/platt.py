"""Weighted Platt scaling, with a bend: log-odds of "same" that fall along a smooth curve.

A straight line of the farness is the rule. Real labels bend it: of the nearest pairs some are
different all the same, and the furthest are rarer the same than a line says. Source: Harrell
(2015), Regression modeling strategies, 2.4.5 (restricted cubic splines), 9.10 (penalty).
"""

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
# Where the curve may bend: quantiles of the farness; beyond the outer ones it is straight.
_BENDS: Final = (0.05, 0.35, 0.65, 0.95)
# Bends are pulled to none as strongly as one group can: few groups have a nearly straight line.
_STIFFNESS: Final = 1.0
# Level and line, which nothing is pulled from.
_LINE: Final = 2
# Bends that are less far apart are one.
_DIGITS: Final = 6
# Keeps a drawing of a few pairs solvable.
_LEAST_CURVATURE: Final = 1e-12
# Points of the curve within the distances that were seen, and beyond them up to 4.
_INNER_POINTS, _OUTER_POINTS = 96, 32


@dataclass(frozen=True, kw_only=True)
class LogOdds:
    """Log-odds of "same" by farness, never rising; straight lines between points.

    Attributes:
        farness: float64 [M], rising.
        values: float64 [M], never rising.
    """

    farness: Float64
    values: Float64

    def at(self, distances: Float64 | float) -> Float64:
        """Compute log-odds at distances [n], float64 [n]."""
        found: Float64 = np.interp(farness(distances), self.farness, self.values)
        return found

    def distance_at(self, log_odds: float) -> float:
        """Find the distance with some log-odds; the nearer end of the curve where none has."""
        far = np.interp(-log_odds, -self.values, self.farness)
        return float(4 * (1 - np.exp(-far)))

    @property
    def distances(self) -> Float64:
        """Squared distances of its points, float64 [M]."""
        found: Float64 = 4 * (1 - np.exp(-self.farness))
        return found


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
        units = len(np.unique([sample.units_a, sample.units_b]))
        self._basis: Basis | None = None
        if sample.is_same.any() and not sample.is_same.all():
            pull = _STIFFNESS / units
            self._basis = Basis(self._farness, self._weigh(self._drawn), pull=pull)

    def fit(self, weights: Float64) -> LogOdds | None:
        """Fit by weights of the pairs, float64 [P]; None where "same" is not the nearer class.

        Each label is moved a little to the other class, as if a pair more of each had been seen,
        so that classes that do not overlap have a finite curve.

        Source: Platt (1999), Probabilistic outputs for support vector machines, section 2.2.
        """
        if self._basis is None:  # one class only
            return None
        weights = weights * self._drawn
        counts = np.bincount(self._codes, weights, minlength=len(self._farness))
        same, other = counts[self._is_same].sum(), counts[~self._is_same].sum()
        if not (same > 0 and other > 0):
            return None
        shares = np.where(self._is_same, (same + 1) / (same + 2), 1 / (other + 2))
        importance = self._weigh(weights)
        found = self._basis.fit(shares, importance / importance.sum())
        return None if found is None else LogOdds(farness=self._basis.points, values=found)

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

    def threshold(self, fitted: LogOdds, weights: Float64) -> float:
        """Choose the threshold by the objective: a squared distance."""
        weights = weights * self._drawn
        most = self._objective.max_false_positive_rate
        if most is not None:
            return threshold_at_max_fpr(self._others, weights[self._order], most)
        probabilities = expit(np.interp(self._farness, fitted.farness, fitted.values))
        counts = self._weigh(weights)
        probability = decision_probability(self._objective, self._prior, probabilities, counts)
        return fitted.distance_at(float(np.log(probability / (1 - probability))))


def _bin_codes(distances: Float64) -> npt.NDArray[np.int64]:
    values, codes = np.unique(distances, return_inverse=True)
    if len(values) <= _MOST_POINTS:
        return codes.astype(np.int64)
    edges = np.unique(np.quantile(distances, np.linspace(0, 1, _MOST_POINTS + 1))[1:-1])
    return np.searchsorted(edges, distances, side="right").astype(np.int64)


class Basis:
    """What log-odds are a sum of: a level, a line, and bends of the farness."""

    def __init__(self, features: Float64, weights: Float64, *, pull: float) -> None:
        """Choose where the curve may bend.

        Args:
            features: float64 [n], farness.
            weights: float64 [n].
            pull: how strongly each bend is pulled to none.
        """
        order = np.argsort(features)
        shares = np.cumsum(weights[order]) / weights.sum()
        places = np.searchsorted(shares, _BENDS).clip(max=len(order) - 1)
        self._bends = np.unique(features[order][places].round(_DIGITS))
        top = float(features.max())
        beyond = np.geomspace(max(top, 10**-_DIGITS), float(farness(4.0)), _OUTER_POINTS)
        self.points = np.unique(np.concatenate([np.linspace(0, top, _INNER_POINTS), beyond]))
        self.is_flat = not np.ptp(features) > 10**-_DIGITS
        raw, drawn = self._expand(features), self._expand(self.points)
        # Columns are made free of the earlier ones and of mean square 1: one pull suits all bends.
        triangle = np.linalg.qr(np.sqrt(weights / weights.sum())[:, None] * raw, mode="r")
        turn = np.eye(1) if self.is_flat else np.linalg.inv(triangle) * np.sign(np.diag(triangle))
        kept = len(turn)
        self._columns, self._drawn = raw[:, :kept] @ turn, drawn[:, :kept] @ turn
        self._pulls = np.where(np.arange(kept) < _LINE, 0.0, pull)

    def _expand(self, features: Float64) -> Float64:
        """Compute level, nearness and bends, float64 [n, 2 + bends]; straight beyond the bends."""
        columns, knots = [np.ones_like(features), -features], self._bends
        if len(knots) > _LINE:
            cubes = np.maximum(features[:, None] - knots, 0) ** 3
            gap, rests = knots[-1] - knots[-2], knots[-1] - knots[:-2]
            bent = (
                cubes[:, :-2] - cubes[:, -2:-1] * rests / gap + cubes[:, -1:] * (rests - gap) / gap
            )
            columns += [*bent.T]
        return np.stack(columns, axis=1)

    def fit(self, shares: Float64, weights: Float64) -> Float64 | None:
        """Fit by maximum likelihood, by Newton's method.

        Hundreds of drawings want a fit each, for which scikit-learn's logistic regression is too
        slow.

        Args:
            shares: float64 [n], how much of each counts as same, above 0 and below 1.
            weights: float64 [n], summing to 1.

        Returns:
            Log-odds at the points, float64 [M], never rising; None where same is not nearer.

        Source: Sun and Tran-Dinh (2019), Generalized self-concordant functions, Mathematical
        Programming 178: steps this short always converge, and as fast as Newton's near the end.
        """
        columns = self._columns
        nearness = columns[:, -1 if self.is_flat else 1]
        gaps = shares - weights @ shares
        if self.is_flat or not (weights * gaps) @ nearness > 0:
            return None
        found = np.zeros(columns.shape[1])
        for _ in range(_MOST_STEPS):
            chances = expit(columns @ found)
            gradient = columns.T @ (weights * (shares - chances)) - self._pulls * found
            curvature = (columns.T * (weights * chances * (1 - chances))) @ columns
            curvature[np.diag_indices(len(found))] += self._pulls + _LEAST_CURVATURE
            step = np.linalg.solve(curvature, gradient)
            reach = float(np.abs(columns @ step).max())
            found = found + step * (np.log1p(reach) / reach if reach else 1.0)
            if reach < _CLOSE_ENOUGH:
                break
        log_odds: Float64 = np.minimum.accumulate(self._drawn @ found)
        return log_odds


def expit(log_odds: Float64) -> Float64:
    """Turn log-odds into probabilities."""
    with np.errstate(over="ignore"):
        probability: Float64 = 1 / (1 + np.exp(-log_odds))
    return probability
