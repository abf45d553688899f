"""Labelled pairs with their distances: what a calibration is fitted to."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from histo_index.arrays import Bools, Float64


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Labelled pairs, measured.

    Attributes:
        distances: float64 [P], squared.
        is_same: bool [P].
        units_a: int64 [P], the image or group of the first side.
        units_b: int64 [P], of the second.
        prior: share of same pairs to be expected in use, 0…1.
        weights: float64 [P], how much each pair counts: the inverse of how likely it was drawn,
            mean 1. None: all alike.
    """

    distances: Float64
    is_same: Bools
    units_a: npt.NDArray[np.int64]
    units_b: npt.NDArray[np.int64]
    prior: float
    weights: Float64 | None = None

    @property
    def counts(self) -> Float64:
        """How much each pair counts, float64 [P]."""
        return np.ones(len(self.distances)) if self.weights is None else self.weights

    def importance(self) -> Float64:
        """Weigh pairs so that same ones have the share of the prior: float64 [P], mean 1."""
        share = np.average(self.is_same, weights=self.counts)
        weights: Float64 = self.counts * np.where(
            self.is_same, self.prior / share, (1 - self.prior) / (1 - share)
        )
        return weights
