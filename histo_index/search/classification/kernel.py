"""How densely the labelled tiles of each class lie around a query.

A class is as likely as its tiles are near: the mean of exp(-distance / reach) over its tiles,
groups weighted equally, is a kernel estimate of the density of the class. It is a mean and not a
sum: leaving out a query's own group makes no class look rarer than it is for a tile of a new group.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from histo_index.arrays import Bools, Float32, Float64, Int64


@dataclass(frozen=True)
class Gallery:
    """The labelled tiles that queries are compared with.

    Attributes:
        classes: int64 [L], class of each, 0…C-1.
        groups: int64 [L], group of each.
        count: C.
    """

    classes: Int64
    groups: Int64
    count: int

    @cached_property
    def weights(self) -> Float32:
        """Weight of each tile for each class, float32 [L, C]: those of a group add up to 1."""
        cells = np.stack([self.classes, self.groups])
        _, inverse, sizes = np.unique(cells, axis=1, return_inverse=True, return_counts=True)
        weights = np.zeros((len(self.classes), self.count), np.float32)
        weights[np.arange(len(self.classes)), self.classes] = 1 / sizes[inverse.ravel()]
        return weights

    def part(self, chosen: Int64 | Bools) -> "Gallery":
        """Select some of its tiles."""
        return Gallery(self.classes[chosen], self.groups[chosen], self.count)

    def densities(self, distances: Float32, reach: float) -> Float64:
        """Average the kernel over the tiles of each class.

        Args:
            distances: float32 [Q, L], squared distances; infinite where a tile is left out.
            reach: squared distance at which the kernel has fallen to 1/e.

        Returns:
            float64 [Q, C], each 0…1; 0 where no tile of the class is left.
        """
        sums = np.exp(distances * np.float32(-1 / reach)) @ self.weights
        totals = np.isfinite(distances).astype(np.float32) @ self.weights
        means: Float64 = sums.astype(np.float64) / np.maximum(totals, 1e-6)
        return means

    def votes(self, distances: Float32, k: int) -> Float64:
        """Count the classes of the nearest tiles.

        Args:
            distances: float32 [Q, L]; infinite where a tile is left out.
            k: how many tiles.

        Returns:
            float64 [Q, C], the share of each class among the k nearest, rows summing to 1.
        """
        k = min(k, distances.shape[1])
        nearest = np.argpartition(distances, k - 1, axis=1)[:, :k]
        is_there = np.isfinite(np.take_along_axis(distances, nearest, 1))
        cells = np.arange(len(distances))[:, None] * self.count + self.classes[nearest]
        counts = np.bincount(cells.ravel(), is_there.ravel(), len(distances) * self.count)
        shares = counts.reshape(-1, self.count)
        found: Float64 = shares / np.maximum(shares.sum(axis=1, keepdims=True), 1)
        return found


def log_densities(densities: Float64, smoothing: float) -> Float64:
    """Take logarithms of densities, centred over the classes: float64 [Q, C].

    Args:
        densities: float64 [Q, C].
        smoothing: added to each, so that far from every class no class is ahead.
    """
    logarithms = np.log(densities + smoothing)
    centred: Float64 = logarithms - logarithms.mean(axis=1, keepdims=True)
    return centred
