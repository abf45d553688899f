"""Examples and tables behind the metrics: reliability, risk, confusion, wrong pairs, strips."""

from collections import Counter
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from histo_index.arrays import Bools, Float64, Int64
from histo_index.search import pair_metrics
from histo_index.search.calibration.threshold import Threshold
from histo_index.search.evaluation.compare import Metrics, estimates
from histo_index.search.evaluation.result import (
    Evaluation,
    Reliability,
    RiskCoverage,
    Strip,
    WrongPair,
)
from histo_index.search.inputs.labelled_pairs import LabelledPairs

_MOST_WRONG: Final = 24
# One odd tile is wrong in most of its pairs and would fill the page.
_MOST_TIMES: Final = 2
_STRIP: Final = 8
_MOST_CELLS: Final = 30
_MOST_OF_CELL: Final = 6


def reliability_of(probabilities: Float64 | None, is_same: Bools) -> Reliability | None:
    """Compare probabilities [P] with the labels; None without probabilities."""
    if probabilities is None:
        return None
    said, found, share = pair_metrics.calibration_bins(
        probabilities, is_same, np.ones(len(probabilities))
    )
    return Reliability(said=said, found=found, share=share)


def _are_wrong(
    distances: npt.NDArray[np.floating], dataset: LabelledPairs, threshold: Threshold
) -> Bools:
    assert threshold.value is not None
    wrong: Bools = (distances.astype(np.float64) <= threshold.value) != dataset.is_same
    return wrong


def risk_coverage_of(
    distances: npt.NDArray[np.floating], dataset: LabelledPairs, threshold: Threshold
) -> RiskCoverage:
    """Compute the error among the most certain verdicts, for every coverage."""
    is_wrong = _are_wrong(distances, dataset, threshold)
    order = np.argsort(-threshold.margins(distances), kind="stable")
    counts = np.arange(1, len(order) + 1)
    answered = risk = None
    if threshold.likelihoods(distances) is not None:
        is_answered = ~replace(threshold, answers_unsure=True).is_unsure(distances)

        def both(weights: Float64) -> Float64:
            return np.array(
                [
                    pair_metrics.share(is_answered, weights),
                    pair_metrics.share(is_wrong, weights * is_answered),
                ]
            )

        units = dataset.groups[dataset.left], dataset.groups[dataset.right]
        answered, risk = estimates(both, *units)
    return RiskCoverage(
        coverage=counts / len(order),
        risk=np.cumsum(is_wrong[order]) / counts,
        answered=answered,
        risk_answered=risk,
    )


def confusion_of(dataset: LabelledPairs, metrics: Metrics) -> Int64 | None:
    """Count queries by their class and that of their nearest neighbour, int64 [C, C]."""
    if metrics.ranking is None:
        return None
    count = len(dataset.classes)
    own = dataset.labels[metrics.ranking.queries]
    found = dataset.labels[metrics.ranking.neighbours[:, 0]]
    return np.bincount(own * count + found, minlength=count**2).reshape(count, count)


def confused_of(found: Evaluation) -> dict[tuple[int, int], list[tuple[int, int, float]]]:
    """Select tiles whose nearest neighbour in another group is of another class.

    Returns:
        Of the most frequent cells (class, class of the neighbour) outside the diagonal: the nearest
        such tiles, each with its neighbour and their distance.
    """
    if found.ranking is None or found.confusion is None:
        return {}
    ranking, labels = found.ranking, found.dataset.labels
    nearest, distances = ranking.neighbours[:, 0], ranking.distances[:, 0]
    wrong = found.confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[
        : min(_MOST_CELLS, np.count_nonzero(wrong))
    ]
    cells = {}
    for own, other in zip(*np.unravel_index(order, wrong.shape), strict=True):
        (queries,) = np.nonzero((labels[ranking.queries] == own) & (labels[nearest] == other))
        chosen = queries[np.argsort(distances[queries], kind="stable")][:_MOST_OF_CELL]
        cells[int(own), int(other)] = [
            (int(ranking.queries[query]), int(nearest[query]), float(distances[query]))
            for query in chosen
        ]
    return cells


def wrong_pairs_of(
    distances: npt.NDArray[np.floating],
    probabilities: Float64 | None,
    dataset: LabelledPairs,
    threshold: Threshold,
) -> list[WrongPair]:
    """Select the wrong pairs furthest from the threshold, furthest first.

    A tile is in two of them at most.
    """
    is_wrong = _are_wrong(distances, dataset, threshold)
    order = np.argsort(-threshold.margins(distances), kind="stable")
    return [
        WrongPair(
            pair=position,
            tile_a=int(dataset.left[position]),
            tile_b=int(dataset.right[position]),
            distance=float(distances[position]),
            probability=None if probabilities is None else float(probabilities[position]),
            is_same=bool(dataset.is_same[position]),
        )
        for position in _spread(order[is_wrong[order]], dataset)
    ]


def _spread(positions: Int64, dataset: LabelledPairs) -> list[int]:
    """Select the first pairs, each tile in at most two of them."""
    times: Counter[int] = Counter()
    taken: list[int] = []
    for position in positions.tolist():
        tiles = int(dataset.left[position]), int(dataset.right[position])
        if all(times[tile] < _MOST_TIMES for tile in tiles):
            times.update(tiles)
            taken.append(position)
        if len(taken) == _MOST_WRONG:
            break
    return taken


def strips_of(dataset: LabelledPairs, metrics: Metrics) -> list[Strip]:
    """Draw a random tile of each class (random, to avoid cherry-picking)."""
    if metrics.ranking is None:
        return []
    ranking, generator = metrics.ranking, np.random.default_rng(0)
    own = dataset.labels[ranking.queries]
    strips = []
    for code in np.unique(own).tolist():
        query = generator.choice(np.flatnonzero(own == code))
        is_there = ranking.neighbours[query] >= 0
        strips.append(
            Strip(
                label=dataset.classes[code],
                query=int(ranking.queries[query]),
                neighbours=ranking.neighbours[query][is_there][:_STRIP].tolist(),
                distances=ranking.distances[query][is_there][:_STRIP].tolist(),
            )
        )
    return strips
