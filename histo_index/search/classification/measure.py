"""How true class probabilities are: accuracy, log loss, calibration slope and mean error."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from histo_index.arrays import Bools, Float64, Int64
from histo_index.indexer.reader import OpenIndex
from histo_index.search.bootstrap import Estimate, bands
from histo_index.search.classification.fit import equal_weights, fit_classes
from histo_index.search.classification.fit_index import HeldOut, hold_out
from histo_index.search.classification.held_out import split_groups
from histo_index.search.classification.layer import probabilities
from histo_index.search.inputs.labelled_pairs import LabelledPairs

_ROUNDS: Final = 400
_NEWTON_STEPS: Final = 12
_EDGE: Final = 1e-6
_LARGEST_STEP: Final = 1.0


@dataclass(frozen=True, kw_only=True)
class ClassMetrics:
    """How true the class probabilities of tiles are, whose groups the model had not seen.

    Every figure weighs groups equally and has an interval by bootstrap of groups.

    Attributes:
        tiles: how many tiles were classified.
        groups: how many groups they are of.
        accuracy: share of tiles whose likeliest class is right.
        log_loss: mean of -log of the probability of the true class.
        prior_log_loss: the same, where every tile has the probabilities of the classes' shares.
        slope: calibration slope: 1 if probabilities are right, less if they are too extreme.
        mean_errors: for each class, its mean probability less its share.
    """

    tiles: int
    groups: int
    accuracy: Estimate
    log_loss: Estimate
    prior_log_loss: Estimate
    slope: Estimate
    mean_errors: dict[str, Estimate]


def measure_index(index: OpenIndex, dataset: LabelledPairs) -> ClassMetrics | None:
    """Measure the class probabilities of an index, cross-validated by group.

    Args:
        index: the index.
        dataset: classes and groups of its tiles.

    Returns:
        The figures; None where classes or groups are too few.
    """
    held = hold_out(index, dataset) if dataset.classes else ""
    if isinstance(held, str):
        return None
    shares, priors = cross_fit(held)
    return measure_classes(shares, held.classes, held.groups, held.names, priors)


def cross_fit(held: HeldOut) -> tuple[Float64, Float64]:
    """Compute class probabilities, the settings of each fold fitted to the groups of the others.

    Returns:
        float64 [Q, C] each: the probabilities, and those by the shares of the classes alone.
    """
    folds = split_groups(held.groups, held.classes)
    shares = np.empty((len(held.queries), held.gallery.count))
    priors = np.empty_like(shares)
    for fold in np.unique(folds):
        own, others = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        fitted = fit_classes(
            held.gallery, held.distances[others], held.classes[others], held.groups[others]
        )
        evidence = fitted.evidence(held.gallery, held.distances[own])
        shares[own] = probabilities(fitted.parameters, evidence, fitted.priors)
        priors[own] = fitted.priors
    return shares, priors


def measure_classes(
    shares: Float64, classes: Int64, groups: Int64, names: list[str], priors: Float64
) -> ClassMetrics:
    """Measure class probabilities.

    Args:
        shares: float64 [Q, C], probabilities.
        classes: int64 [Q], the true classes.
        groups: int64 [Q].
        names: of the classes, [C].
        priors: float64 [Q, C], probabilities by the shares of the classes alone.
    """
    is_class = classes[:, None] == np.arange(shares.shape[1])
    own, prior = shares[is_class], priors[is_class]
    is_right = shares.argmax(axis=1) == classes
    losses = np.stack([-np.log(own.clip(_EDGE)), -np.log(prior.clip(_EDGE))])
    slope = slope_statistic(shares.ravel(), is_class.ravel(), shares.shape[1])
    errors = shares - is_class

    def figures(weights: Float64) -> Float64:
        share = weights / weights.sum()
        return np.concatenate([losses @ share, [slope(weights)], share @ errors])

    accuracy = estimate(lambda w: np.array([w @ is_right / w.sum()]), groups, is_share=True)
    loss, prior_loss, slope_found, *mean_errors = estimate(figures, groups)
    return ClassMetrics(
        tiles=len(classes),
        groups=len(np.unique(groups)),
        accuracy=accuracy[0],
        log_loss=loss,
        prior_log_loss=prior_loss,
        slope=slope_found,
        mean_errors=dict(zip(names, mean_errors, strict=True)),
    )


def estimate(
    statistic: Callable[[Float64], Float64],
    groups: Int64,
    *,
    level: float = 0.95,
    is_share: bool = False,
) -> list[Estimate]:
    """Compute figures that weigh groups equally, with intervals by bootstrap of groups.

    Args:
        statistic: the figures, float64 [M], of weights, float64 [Q].
        groups: int64 [Q].
        level: confidence, 0…1.
        is_share: whether the figures lie between 0 and 1.
    """
    equal = equal_weights(groups)

    def weighted(weights: Float64) -> Float64:
        return statistic(weights * equal)

    center = weighted(np.ones(len(groups)))
    low, high = bands(weighted, groups, rounds=_ROUNDS, level=level, is_share=is_share)
    return [Estimate.of(*ends) for ends in zip(center, low, high, strict=True)]


def slope_statistic(
    said: Float64, is_true: Bools, per_query: int = 1
) -> Callable[[Float64], float]:
    """Prepare the calibration slope of probabilities, as a figure of the weights of queries.

    It is the slope of the logistic regression of what is true on the log-odds of what was said.

    Args:
        said: float64 [Q * n], probabilities, those of a query side by side.
        is_true: bool [Q * n].
        per_query: n.

    Source: Cox (1958), Two further applications of a model for binary regression.
    """
    clipped = said.clip(_EDGE, 1 - _EDGE)
    odds = np.log(clipped / (1 - clipped))
    design = np.stack([np.ones_like(odds), odds], axis=1)

    def slope(weights: Float64) -> float:
        each, found = np.repeat(weights / weights.sum(), per_query), np.array([0.0, 1.0])
        for _ in range(_NEWTON_STEPS):
            chances = 1 / (1 + np.exp(-(design @ found)))
            gradient = design.T @ (each * (chances - is_true))
            curvature = (design * (each * chances * (1 - chances))[:, None]).T @ design
            step = np.linalg.solve(curvature + 1e-9 * np.eye(2), gradient)
            largest = float(np.abs(step).max())
            found = found - step * min(1.0, _LARGEST_STEP / max(largest, _EDGE))
            if largest < _EDGE:
                break
        return float(found[1])

    return slope
