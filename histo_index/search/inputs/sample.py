"""Labelled pairs with their distances: what a calibration is fitted to."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from histo_index.arrays import Bools, Float64, Int64


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Labelled pairs, measured.

    Attributes:
        distances: float64 [P], squared.
        is_same: bool [P].
        units_a: int64 [P], the image or group of the first side.
        units_b: int64 [P], of the second.
        prior: share of same pairs to be expected in use, 0…1.
        weights: float64 [P], how much each pair counts, mean 1: the inverse of how likely it was
            drawn, or of the sizes of its groups. None: all alike.
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


def weigh_groups_alike(groups: Int64, left: Int64, right: Int64, is_same: Bools) -> Float64 | None:
    """Weigh drawn pairs so that every two groups count alike, whatever their sizes.

    Args:
        groups: int64 [T], of the tiles that pairs were drawn from.
        left: int64 [P], group of the first tile of each pair.
        right: int64 [P], of the second.
        is_same: bool [P].

    Returns:
        float64 [P], of mean 1 among the same pairs and among the different ones; None where groups
        are equally large.
    """
    sizes = np.bincount(groups)
    if len(set(sizes[sizes > 0].tolist())) == 1:
        return None
    weights: Float64 = 1.0 / (sizes[left] * sizes[right])
    for kind in (is_same, ~is_same):
        weights[kind] /= weights[kind].mean()
    return weights
