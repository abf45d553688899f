"""Tiles of known class probabilities: classes are normal around their means, groups are shifted.

A group has its own shift of all its tiles, and its own mixture of classes. Averaged over groups,
the probability of each class at a point is known.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from histo_index.arrays import Float32, Float64, Int64
from histo_index.search.classification.fit import Fitted, fit_classes
from histo_index.search.classification.intervals import Chances, chances
from histo_index.search.classification.kernel import Gallery

CLASSES: Final = 4
SIZE: Final = 8
GROUP_SPREAD: Final = 0.7
_WORLD = np.random.default_rng(1001)
MEANS: Final = _WORLD.standard_normal((CLASSES, SIZE)) / np.sqrt(2)
SHARES: Final = _WORLD.dirichlet(np.full(CLASSES, 5.0))
_BLOCK: Final = 2_000


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """Simulated tiles.

    Attributes:
        points: float64 [n, SIZE].
        classes: int64 [n].
        groups: int64 [n].
    """

    points: Float64
    classes: Int64
    groups: Int64

    @property
    def truth(self) -> Float64:
        """Probability of each class at each point, averaged over groups: float64 [n, CLASSES]."""
        squares = ((self.points[:, None] - MEANS) ** 2).sum(axis=2)
        logits = np.log(SHARES) - squares / (2 * (1 + GROUP_SPREAD**2))
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        found: Float64 = powers / powers.sum(axis=1, keepdims=True)
        return found


def simulate(seed: int, *, groups: int, tiles: int) -> Simulated:
    """Simulate tiles of new groups, the same ones for the same seed."""
    generator = np.random.default_rng(seed)
    shifts = GROUP_SPREAD * generator.standard_normal((groups, SIZE))
    mixtures = generator.dirichlet(CLASSES * SHARES, size=groups)
    own = np.repeat(np.arange(groups), tiles)
    drawn = generator.random((len(own), 1)) > np.cumsum(mixtures[own], axis=1)
    classes = drawn.sum(axis=1).clip(max=CLASSES - 1)
    points = MEANS[classes] + shifts[own] + generator.standard_normal((len(own), SIZE))
    return Simulated(points=points, classes=classes, groups=own)


def fit_to(known: Simulated) -> tuple[Gallery, Fitted]:
    """Fit the class model to simulated tiles."""
    gallery = Gallery(known.classes, known.groups, CLASSES)
    return gallery, fit_classes(gallery, held_out(known), known.classes, known.groups)


def held_out(known: Simulated) -> Float32:
    """Compute squared distances, float32 [n, n]; infinite within a group."""
    distances = _distances(known.points, known.points)
    distances[known.groups[:, None] == known.groups] = np.inf
    return distances


def ask(gallery: Gallery, fitted: Fitted, known: Simulated, asked: Simulated) -> Chances:
    """Compute the class probabilities of tiles of new groups."""
    parts = [
        fitted.evidence(gallery, _distances(asked.points[start : start + _BLOCK], known.points))
        for start in range(0, len(asked.points), _BLOCK)
    ]
    return chances(fitted, np.concatenate(parts))


def _distances(left: Float64, right: Float64) -> Float32:
    squares = np.add.outer((left**2).sum(axis=1), (right**2).sum(axis=1))
    found: Float32 = (squares - 2 * left @ right.T).clip(0).astype(np.float32)
    return found
