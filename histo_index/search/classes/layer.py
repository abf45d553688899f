"""From log densities to probabilities: softmax(log prior + offset + slope · log density).

The slope is one over the temperature: neighbours within one group look more alike than those of a
new group, so that densities as they are would be overconfident. The offsets correct how common each
class is. Both are fitted to tiles of groups that are not in the densities.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from histo_index.arrays import Float64, Int64

_ROUNDS: Final = 40
_LARGEST_STEP: Final = 1.0
_CONVERGED: Final = 1e-5
# Pulls offsets to 0 and the slope to 1. Offsets by a tenth of a group, so that a class of few
# groups keeps its prior; the slope as little as keeps it finite where classes are apart.
_OFFSET_RIDGE: Final = 0.1
_SLOPE_RIDGE: Final = 1e-4


@dataclass(frozen=True, kw_only=True)
class Queries:
    """Queries whose class is known, for fitting.

    Attributes:
        scores: float64 [Q, C], scaled log densities.
        classes: int64 [Q].
        groups: int64 [Q], 0…G-1.
        weights: float64 [Q], summing to 1.
        priors: float64 [C].
    """

    scores: Float64
    classes: Int64
    groups: Int64
    weights: Float64
    priors: Float64

    def loss(self, parameters: Float64) -> float:
        """Compute the mean log loss."""
        shares = probabilities(parameters, self.scores, self.priors)
        own = shares[np.arange(len(shares)), self.classes]
        return -float(self.weights @ np.log(own.clip(1e-300)))

    @property
    def ridges(self) -> Float64:
        """Strength of the pull on each parameter, float64 [C + 1]."""
        groups = int(self.groups.max()) + 1
        return np.append(np.full(len(self.priors), _OFFSET_RIDGE / groups), _SLOPE_RIDGE)


def probabilities(parameters: Float64, scores: Float64, priors: Float64) -> Float64:
    """Compute the probability of each class.

    Args:
        parameters: float64 [C + 1], the offsets and the slope.
        scores: float64 [Q, C], scaled log densities.
        priors: float64 [C].

    Returns:
        float64 [Q, C], rows summing to 1.
    """
    logits = np.log(priors) + parameters[:-1] + parameters[-1] * scores
    logits -= logits.max(axis=1, keepdims=True)
    powers = np.exp(logits)
    shares: Float64 = powers / powers.sum(axis=1, keepdims=True)
    return shares


def fit_layer(queries: Queries, start: Float64 | None = None) -> Float64:
    """Fit offsets and slope by penalized maximum likelihood, with Newton's method.

    Args:
        queries: the tiles to fit to.
        start: parameters to start from.

    Returns:
        float64 [C + 1].
    """
    parameters = neutral(len(queries.priors)) if start is None else start
    whole = replace(queries, groups=np.zeros_like(queries.groups))
    for _ in range(_ROUNDS):
        gradients, curvatures = group_terms(parameters, whole)
        step = newton_step(parameters, gradients[0], curvatures[0], queries.ridges)
        largest = float(np.abs(step).max())
        parameters = parameters - np.float64(min(1.0, _LARGEST_STEP / max(largest, 1e-9))) * step
        if largest < _CONVERGED:
            break
    return parameters


def neutral(classes: int) -> Float64:
    """Return the parameters that change nothing: offsets of 0, a slope of 1."""
    return np.append(np.zeros(classes), 1.0)


def newton_step(
    parameters: Float64, gradients: Float64, curvatures: Float64, ridges: Float64
) -> Float64:
    """Compute the step of Newton's method, with the pull of the ridges.

    Args:
        parameters: float64 [P].
        gradients: float64 [..., P].
        curvatures: float64 [..., P, P].
        ridges: float64 [P].
    """
    pulled = gradients + ridges * (parameters - neutral(len(parameters) - 1))
    step: Float64 = np.linalg.solve(curvatures + np.diag(ridges), pulled[..., None])[..., 0]
    return step


def group_terms(parameters: Float64, queries: Queries) -> tuple[Float64, Float64]:
    """Sum gradient and curvature of the log loss over the queries of each group.

    Returns:
        float64 [G, P] and float64 [G, P, P].
    """
    scores, size = queries.scores, queries.scores.shape[1]
    shares = probabilities(parameters, scores, queries.priors)
    errors = shares.copy()
    errors[np.arange(len(errors)), queries.classes] -= 1
    slopes = shares * (scores - (shares * scores).sum(axis=1, keepdims=True))
    gradients = np.concatenate([errors, (errors * scores).sum(axis=1, keepdims=True)], axis=1)
    curvatures = np.empty((len(scores), size + 1, size + 1))
    curvatures[:, :size, :size] = -shares[:, :, None] * shares[:, None, :]
    curvatures[:, np.arange(size), np.arange(size)] += shares
    curvatures[:, :size, size] = curvatures[:, size, :size] = slopes
    curvatures[:, size, size] = (slopes * scores).sum(axis=1)
    return _sum_by_group(gradients, queries), _sum_by_group(curvatures, queries)


def _sum_by_group(values: Float64, queries: Queries) -> Float64:
    """Sum weighted values [Q, ...] over the queries of each group, [G, ...]."""
    weights = queries.weights.reshape(-1, *[1] * (values.ndim - 1))
    sums = np.zeros((int(queries.groups.max()) + 1, *values.shape[1:]))
    order = np.argsort(queries.groups, kind="stable")
    present, starts = np.unique(queries.groups[order], return_index=True)
    sums[present] = np.add.reduceat((weights * values)[order], starts, axis=0)
    return sums
