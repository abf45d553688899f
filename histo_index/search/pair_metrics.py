"""Figures about pairs: how well distances, verdicts and probabilities fit the labels.

Each takes the weight of every pair, so that the bootstrap can resample images or groups; equal
weights give the plain metric. `docs/metrics.md` has every definition in words.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from histo_index.arrays import Bools, Float64

# Guo et al. (2017) use 15 bins on 10,000 images; few pairs leave ten bins too thin to say more.
CALIBRATION_BINS: Final = 10


@dataclass(frozen=True, kw_only=True)
class RocCurve:
    """ROC curve at M thresholds, from none accepted to all.

    Attributes:
        thresholds: float64 [M], squared distances, rising; the first is below every distance.
        hits: share of the same pairs at or below each threshold, float64 [M], 0 to 1.
        false_alarms: share of the different pairs at or below it, float64 [M], 0 to 1.
    """

    thresholds: Float64
    hits: Float64
    false_alarms: Float64

    @property
    def area(self) -> float:
        """ROC-AUC: the probability that a same pair is nearer than a different one, 0 to 1.

        Ties count half.

        Source: Hanley and McNeil (1982), Radiology 143(1).
        """
        return float(np.trapezoid(self.hits, self.false_alarms))

    @property
    def equal_error_rate(self) -> float:
        """Error rate at which same and different pairs are equally often wrong, 0 to 1.

        Between two thresholds both rates are taken to change linearly. Smaller is better.

        Source: Martin et al. (1997), The DET curve in assessment of detection task performance.
        """
        gaps = 1 - self.hits - self.false_alarms
        if not np.isfinite(gaps).all():
            return float("nan")
        after = int(np.argmax(gaps <= 0))
        step = gaps[after - 1] / (gaps[after - 1] - gaps[after])
        start, end = self.false_alarms[after - 1], self.false_alarms[after]
        return float(start + step * (end - start))


class SortedPairs:
    """Labelled pairs sorted by distance, for the threshold-free metrics."""

    def __init__(self, distances: npt.ArrayLike, is_same: npt.ArrayLike) -> None:
        """Sort once.

        Args:
            distances: squared distances [P], smaller is more alike.
            is_same: booleans [P].
        """
        found = np.asarray(distances, np.float64)
        self._order = np.argsort(found, kind="stable")
        self._is_same = np.asarray(is_same, bool)[self._order]
        levels = found[self._order]
        # The last pair of each run of equal distances: a threshold cannot part them.
        self._ends = np.flatnonzero(np.append(np.diff(levels) > 0, True))
        self._levels = np.append(-1.0, levels[self._ends])

    def curve(self, weights: Float64) -> RocCurve:
        """Compute the ROC curve; NaN shares where a class has no weight.

        Args:
            weights: float64 [P], in the order given at the start.
        """
        ordered = weights[self._order]
        with np.errstate(invalid="ignore", divide="ignore"):
            return RocCurve(
                thresholds=self._levels,
                hits=self._shares(np.where(self._is_same, ordered, 0)),
                false_alarms=self._shares(np.where(self._is_same, 0, ordered)),
            )

    def _shares(self, weights: Float64) -> Float64:
        sums = np.cumsum(weights)
        shares: Float64 = np.append(0.0, sums[self._ends] / sums[-1])
        return shares


def accuracy(said_same: Bools, is_same: Bools, weights: Float64) -> float:
    """Compute the share of correct verdicts, 0…1 (the reference method prints it as "c-index")."""
    return share(said_same == is_same, weights)


def balanced_accuracy(said_same: Bools, is_same: Bools, weights: Float64) -> float:
    """Compute the mean of the accuracies on same and on different pairs, 0…1.

    Source: Brodersen et al. (2010), The balanced accuracy and its posterior distribution.
    """
    return (
        share(said_same[is_same], weights[is_same]) + share(~said_same[~is_same], weights[~is_same])
    ) / 2


def brier(probabilities: Float64, is_same: Bools, weights: Float64) -> float:
    """Compute the mean squared error of probabilities, 0…1; smaller is better.

    Source: Brier (1950), Monthly Weather Review 78(1), for two classes, halved.
    """
    return mean((probabilities - is_same) ** 2, weights)


def calibration_bins(
    probabilities: Float64, is_same: Bools, weights: Float64
) -> tuple[Float64, Float64, Float64]:
    """Compare predicted probabilities with observed shares in bins of equal width.

    Returns:
        float64 [CALIBRATION_BINS] each: mean probability said, share of same pairs found (both NaN
        in an empty bin), and the bin's share of all weight.
    """
    bins = np.minimum((probabilities * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    counts = np.bincount(bins, weights, CALIBRATION_BINS)
    with np.errstate(invalid="ignore", divide="ignore"):
        said = np.bincount(bins, weights * probabilities, CALIBRATION_BINS) / counts
        found = np.bincount(bins, weights * is_same, CALIBRATION_BINS) / counts
        return said, found, counts / counts.sum()


def calibration_error(probabilities: Float64, is_same: Bools, weights: Float64) -> float:
    """Compute the expected calibration error, 0…1; smaller is better.

    Source: Naeini, Cooper and Hauskrecht (2015), Obtaining well calibrated probabilities using
    Bayesian binning; Guo et al. (2017), On calibration of modern neural networks.
    """
    said, found, shares = calibration_bins(probabilities, is_same, weights)
    is_filled = shares > 0
    return float(np.sum(np.abs(said - found)[is_filled] * shares[is_filled]))


def share(claims: Bools, weights: Float64) -> float:
    """Compute the weighted share of true claims, 0…1; NaN without any weight."""
    return mean(claims.astype(np.float64), weights)


def mean(values: Float64, weights: Float64) -> float:
    """Average by weight; NaN without any."""
    total = weights.sum()
    return float(values @ weights / total) if total > 0 else float("nan")
