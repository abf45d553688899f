"""Judge one set of vectors on labelled pairs and classes: every figure with its interval."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from histo_index.arrays import Float64, Int64
from histo_index.search import pair_metrics as metrics
from histo_index.search.bootstrap import Estimate, bands
from histo_index.search.calibration.cross_validation import cross_fit
from histo_index.search.calibration.objectives import Objective
from histo_index.search.distance import pair_distances
from histo_index.search.inputs.labelled_pairs import Subject
from histo_index.search.pair_metrics import Curve, PairFigures
from histo_index.search.retrieval_metrics import (
    FIGURES,
    Ranking,
    answerable,
    micro_and_macro,
    rank_others,
    retrieval_values,
)

# Distances [P] to the probability of being the same [P].
Probability = Callable[[npt.NDArray[np.floating]], Float64]

# Accuracy at thresholds fitted on these very labels, but never on a pair's own groups or tiles: by
# it anything can be compared that has no threshold of its own.
CROSS_FITTED: Final = "cross_fitted_accuracy"
PAIR_FIGURES: Final = (
    "accuracy", "balanced_accuracy", CROSS_FITTED, "roc_auc", "equal_error_rate", "brier",
    "expected_calibration_error",
)  # fmt: skip
# Enough for an end to move by less than a twentieth of the width.
_ROUNDS: Final = 400
# More queries than this are drawn from; their figures differ from all by less than a hundredth.
_MOST_QUERIES: Final = 5_000


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What a set of vectors is worth.

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


def judge(
    vectors: npt.NDArray[np.floating],
    subject: Subject,
    *,
    threshold: float | None = None,
    probability: Probability | None = None,
) -> Judged:
    """Judge vectors by the pairs and the classes of a subject.

    Args:
        vectors: floats [T, D] of its tiles, rows of length 1.
        subject: what they are judged on.
        threshold: squared distance up to which a pair is called same; None leaves out accuracies.
        probability: turns distances into probabilities; None leaves out what needs them.
    """
    distances = pair_distances(vectors[subject.left], vectors[subject.right])
    pairs = _judge_pairs(distances, subject, threshold, probability) if len(distances) else {}
    queries = queries_of(subject)
    if not len(queries):
        return Judged(distances=distances, ranking=None, values=None, pairs=pairs)
    ranking = _rank_labelled(vectors, subject, queries)
    values = retrieval_values(ranking, subject.labels, subject.groups)
    own = subject.labels[queries]

    def averages(weights: Float64) -> Float64:
        return np.stack(micro_and_macro(values, own, weights)).ravel()

    found = estimates(averages, subject.groups[queries])
    retrieval = {
        "micro": dict(zip(FIGURES, found[: len(FIGURES)], strict=True)),
        "macro": dict(zip(FIGURES, found[len(FIGURES) :], strict=True)),
    }
    return Judged(
        distances=distances, ranking=ranking, values=values, pairs=pairs, retrieval=retrieval
    )


def curve_of(judged: Judged, subject: Subject) -> Curve:
    """Tell what every threshold would do to the pairs."""
    figures = PairFigures(judged.distances, subject.is_same)
    return figures.curve(np.ones(len(judged.distances)))


def queries_of(subject: Subject) -> Int64:
    """Choose the tiles to ask about: those with one of their class in another group, int64 [Q]."""
    labelled = subject.labelled
    if not len(labelled):
        return labelled
    labels, groups = subject.labels[labelled], subject.groups[labelled]
    queries = labelled[answerable(labels, groups, np.arange(len(labelled)))]
    if len(queries) > _MOST_QUERIES:
        generator = np.random.default_rng(0)
        queries = np.sort(generator.choice(queries, _MOST_QUERIES, replace=False))
    return queries


def _rank_labelled(vectors: npt.NDArray[np.floating], subject: Subject, queries: Int64) -> Ranking:
    """Rank among tiles with a class: a neighbour without one is neither right nor wrong."""
    labelled = subject.labelled
    inner = rank_others(
        vectors[labelled], subject.groups[labelled], np.searchsorted(labelled, queries)
    )
    places = np.where(inner.neighbours >= 0, labelled[inner.neighbours], -1)
    return Ranking(queries=queries, neighbours=places, distances=inner.distances)


def _judge_pairs(
    distances: npt.NDArray[np.float32],
    subject: Subject,
    threshold: float | None,
    probability: Probability | None,
) -> dict[str, Estimate]:
    is_same = subject.is_same
    exact = distances.astype(np.float64)
    figures = PairFigures(exact, is_same)
    units = subject.groups[subject.left], subject.groups[subject.right]
    called, is_judged = cross_fit(subject.sample(exact), Objective())
    statistics: dict[str, Callable[[Float64], float]] = {
        CROSS_FITTED: lambda w: metrics.accuracy(called, is_same, w * is_judged),
        "roc_auc": figures.roc_auc,
        "equal_error_rate": figures.equal_error_rate,
    }
    if threshold is not None:
        said = exact <= threshold
        statistics["accuracy"] = lambda w: metrics.accuracy(said, is_same, w)
        statistics["balanced_accuracy"] = lambda w: metrics.balanced_accuracy(said, is_same, w)
    if probability is not None:
        chances = np.asarray(probability(exact), np.float64)
        statistics["brier"] = lambda w: metrics.brier(chances, is_same, w)
        statistics["expected_calibration_error"] = lambda w: metrics.calibration_error(
            chances, is_same, w
        )
    unknown = Estimate(value=None, low=None, high=None)
    found = dict.fromkeys(PAIR_FIGURES, unknown)
    made = estimates(lambda w: np.array([f(w) for f in statistics.values()]), *units)
    return found | dict(zip(statistics, made, strict=True))


def estimates(
    statistic: Callable[[Float64], Float64], units_a: Int64, units_b: Int64 | None = None
) -> list[Estimate]:
    """Give several figures of weights, each with its interval; see `bands`."""
    center = statistic(np.ones(len(units_a)))
    low, high = bands(statistic, units_a, units_b, rounds=_ROUNDS)
    return [Estimate.of(*ends) for ends in zip(center, low, high, strict=True)]


def difference(
    statistic: Callable[[Float64], float], units_a: Int64, units_b: Int64 | None = None
) -> Estimate:
    """Give a difference of two figures on the same items with its interval: both drawn alike."""
    center = statistic(np.ones(len(units_a)))
    low, high = bands(
        lambda weights: np.array([statistic(weights)]),
        units_a,
        units_b,
        rounds=_ROUNDS,
        is_share=False,
    )
    return Estimate.of(center, low[0], high[0])
