"""Cross-validation by group: verdicts by thresholds fitted on other groups."""

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from histo_index.arrays import Bools, Float64
from histo_index.search.bootstrap import Interval, bands
from histo_index.search.calibration.objectives import Objective
from histo_index.search.calibration.platt import Bins
from histo_index.search.inputs.sample import Sample

_FOLDS: Final = 10


def cross_validate(sample: Sample, objective: Objective, *, seed: int = 0) -> tuple[Bools, Bools]:
    """Decide every pair by a threshold fitted without either of its units.

    Units are split into ten folds, or one a fold if there are fewer. The threshold for the pairs
    between two folds is fitted on all pairs that touch neither.

    Returns:
        Which pairs are decided as same, and which could be decided: bool [P] each.
    """
    units, codes = np.unique([sample.units_a, sample.units_b], return_inverse=True)
    folds = min(_FOLDS, len(units))
    order = np.random.default_rng(seed).permutation(len(units))
    left, right = (order % folds)[codes.reshape(2, -1)]
    called, decided = np.zeros(left.shape, bool), np.zeros(left.shape, bool)
    for one, other in _fold_pairs(left, right):
        outside = ~np.isin(left, (one, other)) & ~np.isin(right, (one, other))
        tested = (np.minimum(left, right) == one) & (np.maximum(left, right) == other)
        cut = _cut_of(sample, objective, outside)
        if cut is not None:
            called[tested] = sample.distances[tested] <= cut
            decided[tested] = True
    return called, decided


def _fold_pairs(left: npt.NDArray[np.int64], right: npt.NDArray[np.int64]) -> Iterator[list[int]]:
    pairs = np.stack([np.minimum(left, right), np.maximum(left, right)])
    yield from np.unique(pairs, axis=1).T.tolist()


def _cut_of(sample: Sample, objective: Objective, chosen: Bools) -> float | None:
    """Fit the threshold on some of the pairs; None where they do not allow it."""
    is_same = sample.is_same[chosen]
    if not len(is_same) or is_same.all() or not is_same.any():
        return None
    part = Sample(
        distances=sample.distances[chosen],
        is_same=is_same,
        units_a=sample.units_a[chosen],
        units_b=sample.units_b[chosen],
        prior=sample.prior,
        weights=None if sample.weights is None else sample.weights[chosen],
    )
    bins, ones = Bins(part, objective), np.ones(len(is_same))
    fitted = bins.fit(ones)
    return None if fitted is None else bins.threshold(fitted, ones)


def share_of(
    sample: Sample, is_hit: Bools, counted: Bools, *, rounds: int = 1000
) -> tuple[float, Interval]:
    """Estimate the share of hits among some pairs at the prior, with its interval.

    Args:
        sample: the pairs.
        is_hit: bool [P].
        counted: bool [P], the pairs that count.
        rounds: bootstrap rounds.
    """
    importance = np.where(counted, sample.importance(), 0.0)[counted]
    hits = importance * is_hit[counted]

    def share(weights: Float64) -> float:
        total = weights @ importance
        return float(weights @ hits / total) if total > 0 else float("nan")

    units = sample.units_a[counted], sample.units_b[counted]
    low, high = bands(share, *units, rounds=rounds)
    return share(np.ones(len(hits))), Interval(low=float(low), high=float(high))
