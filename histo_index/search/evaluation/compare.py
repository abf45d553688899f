"""Metrics of one set of vectors on labelled pairs and classes, each with its interval."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from histo_index.arrays import Float64, Int64
from histo_index.search import pair_metrics
from histo_index.search.bootstrap import Estimate, bands
from histo_index.search.calibration.cross_validation import cross_validate
from histo_index.search.calibration.curve import Curve
from histo_index.search.calibration.objectives import Objective
from histo_index.search.distance import pair_distances
from histo_index.search.inputs.labelled_pairs import LabelledPairs
from histo_index.search.pair_metrics import RocCurve, SortedPairs
from histo_index.search.retrieval_metrics import (
    RETRIEVAL_METRICS,
    Ranking,
    answerable,
    micro_and_macro,
    rank_others,
    retrieval_values,
)

# Accuracy at thresholds fitted on other groups of the same labels: compares methods without a
# threshold.
CROSS_VALIDATED: Final = "cross_validated_accuracy"
PAIR_METRICS: Final = (
    "accuracy", "balanced_accuracy", CROSS_VALIDATED, "roc_auc", "equal_error_rate", "brier",
    "expected_calibration_error",
)  # fmt: skip
# Enough for an end to move by less than a twentieth of the width.
_ROUNDS: Final = 400
# More queries than this are drawn from; their figures differ from all by less than a hundredth.
_MAX_QUERIES: Final = 5_000


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Metrics of one set of vectors.

    Attributes:
        distances: squared distances of the pairs, float32 [P].
        ranking: neighbours of the tiles with a class; None without classes.
        values: float64 [Q, M], each query by each retrieval figure.
        pairs: figures of the pairs, by name.
        retrieval: figures of the neighbours, by `micro` and `macro`, then by name.
    """

    distances: npt.NDArray[np.float32]
    ranking: Ranking | None
    values: Float64 | None
    pairs: dict[str, Estimate] = field(default_factory=dict)
    retrieval: dict[str, dict[str, Estimate]] = field(default_factory=dict)


def compute_metrics(
    vectors: npt.NDArray[np.floating],
    dataset: LabelledPairs,
    *,
    threshold: float | None = None,
    curve: Curve | None = None,
) -> Metrics:
    """Compute the metrics of vectors on labelled pairs and classes.

    Args:
        vectors: floats [T, D] of its tiles, rows of length 1.
        dataset: the tiles, classes and pairs.
        threshold: squared distance up to which a pair is called same; None leaves out accuracies.
        curve: probability of "same" by distance; None leaves out Brier and calibration error.
    """
    found = measure(vectors, dataset)
    has_pairs = len(found.distances) > 0
    return replace(
        found,
        pairs=_pair_metrics(found.distances, dataset, threshold, curve) if has_pairs else {},
        retrieval=_retrieval_metrics(found, dataset),
    )


def measure(vectors: npt.NDArray[np.floating], dataset: LabelledPairs) -> Metrics:
    """Measure distances of pairs and ranks of neighbours, without figures and their intervals."""
    distances = pair_distances(vectors[dataset.left], vectors[dataset.right])
    queries = queries_of(dataset)
    if not len(queries):
        return Metrics(distances=distances, ranking=None, values=None)
    ranking = _rank_labelled(vectors, dataset, queries)
    values = retrieval_values(ranking, dataset.labels, dataset.groups)
    return Metrics(distances=distances, ranking=ranking, values=values)


def _retrieval_metrics(found: Metrics, dataset: LabelledPairs) -> dict[str, dict[str, Estimate]]:
    if found.ranking is None or found.values is None:
        return {}
    queries, values = found.ranking.queries, found.values
    own = dataset.labels[queries]

    def averages(weights: Float64) -> Float64:
        return np.stack(micro_and_macro(values, own, weights)).ravel()

    made = estimates(averages, dataset.groups[queries])
    return {
        "micro": dict(zip(RETRIEVAL_METRICS, made[: len(RETRIEVAL_METRICS)], strict=True)),
        "macro": dict(zip(RETRIEVAL_METRICS, made[len(RETRIEVAL_METRICS) :], strict=True)),
    }


def curve_of(metrics: Metrics, dataset: LabelledPairs) -> RocCurve:
    """Compute the ROC curve of the pairs."""
    figures = SortedPairs(metrics.distances, dataset.is_same)
    return figures.curve(np.ones(len(metrics.distances)))


def queries_of(dataset: LabelledPairs) -> Int64:
    """Select the query tiles: those with a tile of their class in another group, int64 [Q]."""
    labelled = dataset.labelled
    if not len(labelled):
        return labelled
    labels, groups = dataset.labels[labelled], dataset.groups[labelled]
    queries = labelled[answerable(labels, groups, np.arange(len(labelled)))]
    if len(queries) > _MAX_QUERIES:
        generator = np.random.default_rng(0)
        queries = np.sort(generator.choice(queries, _MAX_QUERIES, replace=False))
    return queries


def _rank_labelled(
    vectors: npt.NDArray[np.floating], dataset: LabelledPairs, queries: Int64
) -> Ranking:
    """Rank among tiles with a class: a neighbour without one is neither right nor wrong."""
    labelled = dataset.labelled
    inner = rank_others(
        vectors[labelled], dataset.groups[labelled], np.searchsorted(labelled, queries)
    )
    neighbours = np.where(inner.neighbours >= 0, labelled[inner.neighbours], -1)
    return Ranking(queries=queries, neighbours=neighbours, distances=inner.distances)


def _pair_metrics(
    distances: npt.NDArray[np.float32],
    dataset: LabelledPairs,
    threshold: float | None,
    curve: Curve | None,
) -> dict[str, Estimate]:
    is_same = dataset.is_same
    exact = distances.astype(np.float64)
    figures = SortedPairs(exact, is_same)
    units = dataset.groups[dataset.left], dataset.groups[dataset.right]
    called, is_judged = cross_validate(dataset.sample(exact), Objective())
    said = None if threshold is None else exact <= threshold
    chances = None if curve is None else curve.at(exact).probability

    def compute(weights: Float64) -> Float64:
        roc = figures.curve(weights)
        values = dict.fromkeys(PAIR_METRICS, np.nan) | {
            CROSS_VALIDATED: pair_metrics.accuracy(called, is_same, weights * is_judged),
            "roc_auc": roc.area,
            "equal_error_rate": roc.equal_error_rate,
        }
        if said is not None:
            values["accuracy"] = pair_metrics.accuracy(said, is_same, weights)
            values["balanced_accuracy"] = pair_metrics.balanced_accuracy(said, is_same, weights)
        if chances is not None:
            values["brier"] = pair_metrics.brier(chances, is_same, weights)
            values["expected_calibration_error"] = pair_metrics.calibration_error(
                chances, is_same, weights
            )
        return np.array(list(values.values()))

    return dict(zip(PAIR_METRICS, estimates(compute, *units), strict=True))


def estimates(
    statistic: Callable[[Float64], Float64], units_a: Int64, units_b: Int64 | None = None
) -> list[Estimate]:
    """Compute several metrics, each with its interval; see `bands`."""
    center = statistic(np.ones(len(units_a)))
    low, high = bands(statistic, units_a, units_b, rounds=_ROUNDS)
    return [Estimate.of(*ends) for ends in zip(center, low, high, strict=True)]


def difference(
    statistic: Callable[[Float64], float], units_a: Int64, units_b: Int64 | None = None
) -> Estimate:
    """Compute the difference of two metrics on the same items with its paired interval."""
    center = statistic(np.ones(len(units_a)))
    low, high = bands(
        lambda weights: np.array([statistic(weights)]),
        units_a,
        units_b,
        rounds=_ROUNDS,
        is_share=False,
    )
    return Estimate.of(center, low[0], high[0])
