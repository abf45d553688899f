"""Fit a threshold and a probability curve, with bootstrap bands, to labelled pairs.

`benchmarks/calibration.py` compares the curve with others (figures: docs/metrics.md).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from histo_index.arrays import Float64
from histo_index.errors import InputError
from histo_index.search.bootstrap import Interval, bands
from histo_index.search.calibration.curve import Curve, farness
from histo_index.search.calibration.objectives import Objective
from histo_index.search.calibration.platt import Bins, LogOdds, expit
from histo_index.search.inputs.sample import Sample

ROUNDS: Final = 400


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A threshold with its interval, and the curve.

    Attributes:
        threshold: squared distance, 0…4.
        threshold_interval: where it lies; NaN with too few units.
        curve: probability of "same" by distance, with its band.
    """

    threshold: float
    threshold_interval: Interval
    curve: Curve


def fit(sample: Sample, objective: Objective, *, rounds: int = ROUNDS, seed: int = 0) -> Fitted:
    """Fit threshold and curve, with intervals that resample units.

    Raises:
        InputError: same pairs are no nearer than different ones.
    """
    bins = Bins(sample, objective)
    ones = np.ones(len(sample.distances))
    fitted = _require(bins.fit(ones))
    knots = fitted.distances

    def figures(weights: Float64) -> Float64:
        """Return log-odds at each knot, and their difference from those at the threshold."""
        drawn = bins.fit(weights)
        if drawn is None:
            return np.full((2, len(knots)), np.nan)
        return np.stack([drawn.values, drawn.values - drawn.at(bins.threshold(drawn, weights))])

    low, high = bands(
        figures, sample.units_a, sample.units_b, rounds=rounds, seed=seed, is_share=False
    )
    return Fitted(
        threshold=bins.threshold(fitted, ones),
        threshold_interval=Interval(low=_crossing(knots, low[1]), high=_crossing(knots, high[1])),
        curve=_curve(knots, fitted.values, low[0], high[0]),
    )


def fit_threshold(sample: Sample, objective: Objective) -> float:
    """Fit the threshold alone; see `fit`."""
    bins, ones = Bins(sample, objective), np.ones(len(sample.distances))
    return bins.threshold(_require(bins.fit(ones)), ones)


def _require(fitted: LogOdds | None) -> LogOdds:
    if fitted is None:
        raise InputError(
            "same pairs are not nearer than different ones, so distances do not separate them; "
            "check the labels, or use another encoder"
        )
    return fitted


def _curve(knots: Float64, middle: Float64, low: Float64, high: Float64) -> Curve:
    """Build the curve from log-odds; an undefined band spans 0 to 1."""
    lines = np.array([middle, np.where(np.isfinite(low), low, -np.inf), high])
    lines[2] = np.where(np.isfinite(high), high, np.inf)
    # Each bootstrap curve falls; the ends of their band need not.
    lines[1] = np.minimum.accumulate(lines[1])
    lines[2] = np.maximum.accumulate(lines[2][::-1])[::-1]
    probability, lowest, highest = expit(lines)
    return Curve(distance=knots, probability=probability, low=lowest, high=highest)


def _crossing(knots: Float64, margins: Float64) -> float:
    """Find the distance where an end of the band falls to zero; NaN if that is not known.

    Between these, a pair may be on either side of the threshold: intervals by this rule hold the
    truth more often than those of the threshold itself, a quotient whose spread is no measure of
    where it lies. Source: Fieller (1954), Some problems in interval estimation, JRSS B 16(2).
    """
    if not np.isfinite(margins).all():
        return float("nan")
    falling = np.minimum.accumulate(margins)
    far = np.interp(0.0, falling[::-1], farness(knots)[::-1])
    return float(4 * (1 - np.exp(-far)))
