"""Objectives of a threshold, and the threshold that optimises each."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from histo_index.arrays import Float64
from histo_index.errors import InputError

NAMES: Final = ("accuracy", "balanced-accuracy", "f1")


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What the threshold optimises.

    Attributes:
        name: `accuracy` (share of right verdicts), `balanced-accuracy` (mean of the shares right
            among same and among different pairs), or `f1` (of "same").
        prior: share of same pairs in use, 0…1; None is their share in the labelled list.
        max_false_positive_rate: instead: at most this share of different pairs is called the same.
        costs: instead: what a wrong "same" and a wrong "different" cost, each above 0.
    """

    name: str = "accuracy"
    prior: float | None = None
    max_false_positive_rate: float | None = None
    costs: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise InputError(f"unknown objective {self.name}; expected one of {', '.join(NAMES)}")
        for name, share in (
            ("prior", self.prior),
            ("max false positive rate", self.max_false_positive_rate),
        ):
            if share is not None and not 0 < share < 1:
                raise InputError(f"{name} is {share}; expected a share between 0 and 1")
        if self.costs is not None and not all(0 < cost < np.inf for cost in self.costs):
            raise InputError(f"costs are {self.costs}; expected two numbers above 0")
        named = [self.max_false_positive_rate is not None, self.costs is not None]
        if sum([*named, self.name != "accuracy"]) > 1:
            raise InputError("several objectives; pass one of them")

    def __str__(self) -> str:
        if self.max_false_positive_rate is not None:
            return f"false positive rate at most {self.max_false_positive_rate:g}"
        if self.costs is not None:
            return (
                f"least cost at {self.costs[0]:g} a wrong same, {self.costs[1]:g} a wrong different"
            )
        return self.name.replace("-", " ")


def decision_probability(
    objective: Objective, prior: float, probabilities: Float64, weights: Float64
) -> float:
    """Compute the probability from which on "same" is the better answer.

    Args:
        objective: not one of a false positive rate, which no single probability meets.
        prior: share of same pairs that the probabilities hold for.
        probabilities: float64 [n], of pairs; only F1 needs them.
        weights: float64 [n], how often each comes in use.

    Sources:
        Elkan (2001), The foundations of cost-sensitive learning, IJCAI: p = c / (c + c'); equal
        costs give accuracy, costs of one by each class's share give balanced accuracy.
        Lipton, Elkan and Naryanaswamy (2014), Optimal thresholding of classifiers to maximize F1
        measure, ECML: half of the best F1.
    """
    assert objective.max_false_positive_rate is None
    if objective.costs is not None:
        return objective.costs[0] / sum(objective.costs)
    if objective.name == "balanced-accuracy":
        return prior
    if objective.name == "f1":
        order = np.argsort(-probabilities)
        found = np.cumsum(weights[order] * probabilities[order])
        return float((found / (np.cumsum(weights[order]) + found[-1])).max())
    return 0.5


def threshold_at_max_fpr(distances: Float64, weights: Float64, most: float) -> float:
    """Find the largest threshold with at most a given false positive rate.

    Args:
        distances: float64 [n], of different pairs, in rising order.
        weights: float64 [n], how often each stands there.
        most: the share, 0…1.

    Returns:
        The distance halfway to the first one too many; below the nearest if that is already one
        too many; NaN without any weight.
    """
    if not weights.sum() > 0:
        return float("nan")
    share = np.cumsum(weights) / weights.sum()
    # A threshold cannot separate equal distances: use the last of each.
    last = np.searchsorted(distances, distances, side="right") - 1
    is_allowed = share[last] <= most
    count = int(is_allowed.sum())
    if not count:
        # One at distance 0 cannot be kept out.
        return float(distances[0]) / 2
    after = distances[min(count, len(distances) - 1)]
    return float((distances[count - 1] + after) / 2)
