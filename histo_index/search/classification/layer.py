"""From evidence to probabilities: softmax(log prior + offset + slopes · evidence).

The evidence for each class is its log density, its share of the ten nearest tiles, and whether the
nearest tile is of it. The slope of the density is one over the temperature: densities as they are
would be overconfident about new groups. At the optimum the mean probability of the nearest tile's
class, and of the classes of the ten nearest, equals the share of them that is right. All is fitted
to tiles whose own group is left out of the evidence.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from histo_index.arrays import Float64, Int64

# Log density, share of the ten nearest, the nearest.
EVIDENCE: Final = 3
_ROUNDS: Final = 40
_LARGEST_STEP: Final = 1.0
_CONVERGED: Final = 1e-5
# Pulls parameters to those that change nothing. Offsets and votes by as much as two groups, so that
# they do not follow the few groups that they were fitted to: docs/metrics.md has what was compared.
# The slope of the density as little as keeps it finite where classes are apart.
PULL: Final = 2.0
# What the fit would be without that pull, but for what keeps it finite: intervals are as wide as
# its spread, because the pull takes off spread and adds an error that no drawing shows.
_WEAK_RIDGE: Final = 0.1
_SLOPE_RIDGE: Final = 1e-4


@dataclass(frozen=True, kw_only=True)
class Queries:
    """Queries whose class is known, for fitting.

    Attributes:
        evidence: float64 [Q, EVIDENCE, C].
        classes: int64 [Q].
        groups: int64 [Q], 0…G-1.
        weights: float64 [Q], summing to 1.
        priors: float64 [C].
        pull: strength of the pull on offsets and votes, in groups.
    """

    evidence: Float64
    classes: Int64
    groups: Int64
    weights: Float64
    priors: Float64
    pull: float = PULL

    def loss(self, parameters: Float64) -> float:
        """Compute the mean log loss."""
        shares = probabilities(parameters, self.evidence, self.priors)
        own = shares[np.arange(len(shares)), self.classes]
        return -float(self.weights @ np.log(own.clip(1e-300)))

    @property
    def ridges(self) -> Float64:
        """Strength of the pull on each parameter, float64 [P]."""
        return self._ridges(self.pull)

    @property
    def weak_ridges(self) -> Float64:
        """Strength of a pull that is only felt where parameters would be infinite."""
        return self._ridges(_WEAK_RIDGE)

    def _ridges(self, in_groups: float) -> Float64:
        groups = int(self.groups.max()) + 1
        ridges = np.full(len(self.priors) + EVIDENCE, in_groups / groups)
        ridges[len(self.priors)] = _SLOPE_RIDGE
        return ridges


def probabilities(parameters: Float64, evidence: Float64, priors: Float64) -> Float64:
    """Compute the probability of each class.

    Args:
        parameters: float64 [P], the offsets of the C classes and the slopes.
        evidence: float64 [Q, EVIDENCE, C].
        priors: float64 [C].

    Returns:
        float64 [Q, C], rows summing to 1.
    """
    offsets, slopes = np.split(parameters, [len(priors)])
    logits = np.log(priors) + offsets + np.einsum("qfc,f->qc", evidence, slopes)
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
        float64 [P].
    """
    parameters: Float64 = neutral(len(queries.priors)) if start is None else start
    whole = replace(queries, groups=np.zeros_like(queries.groups))
    for _ in range(_ROUNDS):
        gradients, curvatures = group_terms(parameters, whole)
        step = newton_step(parameters, gradients[0], curvatures[0], queries.ridges)
        largest = float(np.abs(step).max())
        step *= min(1.0, _LARGEST_STEP / max(largest, _CONVERGED))
        parameters = parameters - step
        if largest < _CONVERGED:
            break
    return parameters


def neutral(classes: int) -> Float64:
    """Return the parameters that change nothing: a slope of 1 for the log density."""
    found = np.zeros(classes + EVIDENCE)
    found[classes] = 1.0
    return found


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
    pulled = gradients + ridges * (parameters - neutral(len(parameters) - EVIDENCE))
    step = np.linalg.solve(curvatures + np.diag(ridges), pulled[..., None])[..., 0]
    return step.astype(np.float64, copy=False)


def group_terms(parameters: Float64, queries: Queries) -> tuple[Float64, Float64]:
    """Sum gradient and curvature of the log loss over the queries of each group.

    Returns:
        float64 [G, P] and float64 [G, P, P].
    """
    evidence, size = queries.evidence, len(queries.priors)
    shares = probabilities(parameters, evidence, queries.priors)
    errors = shares.copy()
    errors[np.arange(len(errors)), queries.classes] -= 1
    gradients = np.concatenate([errors, np.einsum("qfc,qc->qf", evidence, errors)], axis=1)
    means = np.einsum("qfc,qc->qf", evidence, shares)
    spread = shares[:, None, :] * (evidence - means[:, :, None])
    curvatures = np.empty((len(shares), size + EVIDENCE, size + EVIDENCE))
    curvatures[:, :size, :size] = -shares[:, :, None] * shares[:, None, :]
    curvatures[:, np.arange(size), np.arange(size)] += shares
    curvatures[:, size:, :size] = spread
    curvatures[:, :size, size:] = spread.transpose(0, 2, 1)
    curvatures[:, size:, size:] = spread @ evidence.transpose(0, 2, 1)
    return _sum_by_group(gradients, queries), _sum_by_group(curvatures, queries)


def _sum_by_group(values: Float64, queries: Queries) -> Float64:
    """Sum weighted values [Q, ...] over the queries of each group, [G, ...]."""
    weights = queries.weights.reshape(-1, *[1] * (values.ndim - 1))
    sums = np.zeros((int(queries.groups.max()) + 1, *values.shape[1:]))
    order = np.argsort(queries.groups, kind="stable")
    present, starts = np.unique(queries.groups[order], return_index=True)
    sums[present] = np.add.reduceat((weights * values)[order], starts, axis=0)
    return sums
