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
    """

    distances: Float64
    is_same: Bools
    units_a: npt.NDArray[np.int64]
    units_b: npt.NDArray[np.int64]
    prior: float

    def importance(self) -> Float64:
        """Weigh pairs so that same ones have the share of the prior: float64 [P], mean 1."""
        share = self.is_same.mean()
        weights: Float64 = np.where(
            self.is_same, self.prior / share, (1 - self.prior) / (1 - share)
        )
        return weights
