"""Fit the class model to tiles whose own group is left out of what they are compared with.

Source: Friedman, Hastie and Tibshirani (2009), The elements of statistical learning, 6.6.2 (kernel
density classification); Guo et al. (2017), On calibration of modern neural networks (temperature).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from histo_index.arrays import Float32, Float64, Int64
from histo_index.progress import track
from histo_index.search.classification.kernel import Gallery, log_densities
from histo_index.search.classification.layer import (
    PULL,
    Queries,
    fit_layer,
    group_terms,
    newton_step,
)

# In units of the median distance to the nearest tile of another group.
_REACHES: Final = tuple(0.1 * 2.0**step for step in range(8))
# In units of the median density of the densest class.
_SMOOTHINGS: Final = (1e-4, 1e-2)
_VOTES: Final = (10, 1)
_ROUNDS: Final = 200
# With fewer groups intervals hold the truth less often than they say.
FEWEST_FOR_INTERVALS: Final = 10
_LEAST_DISTANCE: Final = 1e-6


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A fitted class model, apart from its tiles.

    Attributes:
        reach: squared distance at which the kernel has fallen to 1/e.
        smoothing: density that every class has everywhere.
        scale: root mean square of the log densities, which are divided by it.
        priors: float64 [C], share of each class, groups weighted equally.
        parameters: float64 [P], offsets and slopes.
        covariance: float64 [P, P], of the parameters over new groups; None with too few.
        groups: groups that it was fitted to.
        loss: log loss of the tiles it was fitted to, groups weighted equally.
    """

    reach: float
    smoothing: float
    scale: float
    priors: Float64
    parameters: Float64
    covariance: Float64 | None
    groups: int
    loss: float

    def evidence(self, gallery: Gallery, distances: Float32) -> Float64:
        """Compute the evidence for each class, float64 [Q, EVIDENCE, C].

        Args:
            gallery: L labelled tiles.
            distances: float32 [Q, L]; infinite where a tile is left out.
        """
        scores = log_densities(gallery.densities(distances, self.reach), self.smoothing)
        return np.stack([scores / self.scale, *count_votes(gallery, distances)], axis=1)


def count_votes(gallery: Gallery, distances: Float32) -> list[Float64]:
    """Compute each class's share of the ten nearest and of the nearest: float64 [Q, C] each."""
    return [gallery.votes(distances, k) for k in _VOTES]


def equal_weights(groups: Int64) -> Float64:
    """Weigh queries so that every group counts the same: float64 [Q], summing to 1."""
    _, codes, counts = np.unique(groups, return_inverse=True, return_counts=True)
    weights: Float64 = 1.0 / (counts[codes] * len(counts))
    return weights


def fit_classes(
    gallery: Gallery,
    distances: Float32,
    classes: Int64,
    groups: Int64,
    *,
    pull: float = PULL,
) -> Fitted:
    """Fit all settings of the class model by the log loss, groups weighted equally.

    Args:
        gallery: L labelled tiles.
        distances: float32 [Q, L], squared; infinite where a tile is of the query's own group, or
            left out with it.
        classes: int64 [Q], class of each query.
        groups: int64 [Q].
        pull: strength of the pull on offsets and votes, in groups.
    """
    weights, codes = equal_weights(groups), np.unique(groups, return_inverse=True)[1]
    number = int(codes.max()) + 1
    # Half a tile of a group more for each class, so that none is impossible.
    shares = np.bincount(classes, weights, gallery.count) + 0.5 / (number * gallery.count)
    priors: Float64 = shares / shares.sum()
    near = max(float(np.median(distances.min(axis=1))), _LEAST_DISTANCE)
    best, parameters, votes = None, None, count_votes(gallery, distances)
    for reach in track(_REACHES, "fitting classes", unit="settings"):
        densities = gallery.densities(distances, reach * near)
        typical = max(float(np.median(densities.max(axis=1))), np.finfo(np.float64).tiny)
        for share in _SMOOTHINGS:
            scores = log_densities(densities, share * typical)
            scale = float(np.sqrt(weights @ (scores**2).sum(axis=1))) or 1.0
            queries = Queries(
                evidence=np.stack([scores / scale, *votes], axis=1),
                classes=classes,
                groups=codes,
                weights=weights,
                priors=priors,
                pull=pull,
            )
            parameters = fit_layer(queries, parameters)
            loss = queries.loss(parameters)
            if best is None or loss < best[0]:
                best = loss, reach * near, share * typical, scale, parameters, queries
    assert best is not None
    loss, reach, smoothing, scale, parameters, queries = best
    return Fitted(
        reach=reach,
        smoothing=smoothing,
        scale=scale,
        priors=priors,
        parameters=parameters,
        covariance=bootstrap_covariance(parameters, queries)
        if number >= FEWEST_FOR_INTERVALS
        else None,
        groups=number,
        loss=loss,
    )


def bootstrap_covariance(parameters: Float64, queries: Queries) -> Float64:
    """Compute the covariance of the parameters by a bootstrap of groups, float64 [P, P].

    Each drawing fits the parameters again with a weak pull only, by one step of Newton's method;
    its terms are sums over groups, so that a drawing costs no pass over the tiles. G groups show
    the spread of G - 2, as in `search.bootstrap`.

    Source: Shao and Tu (1995), The jackknife and bootstrap, 5.2.1 (one-step bootstrap).
    """
    gradients, curvatures = group_terms(parameters, queries)
    number = len(gradients)
    draws = np.random.default_rng(0).multinomial(number, np.full(number, 1 / number), _ROUNDS)
    steps = newton_step(
        parameters,
        np.tensordot(draws, gradients, 1),
        np.tensordot(draws, curvatures, 1),
        queries.weak_ridges,
    )
    covariance: Float64 = np.cov(steps.T) * number / (number - 2)
    return covariance
