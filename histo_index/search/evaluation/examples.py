"""What stands behind the figures of an evaluation: curves, tables, pairs and tiles to look at."""

from collections import Counter
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from histo_index.arrays import Bools, Float64, Int64
from histo_index.search import pair_metrics
from histo_index.search.calibration.threshold import Threshold
from histo_index.search.evaluation.compare import Metrics, estimates
from histo_index.search.evaluation.result import Reliability, RiskCoverage, Strip, WrongPair
from histo_index.search.inputs.labelled_pairs import LabelledPairs

_MOST_WRONG: Final = 24
# One odd tile is wrong in most of its pairs, and would fill the page.
_MOST_TIMES: Final = 2
_STRIP: Final = 8


def reliability_of(probabilities: Float64 | None, is_same: Bools) -> Reliability | None:
    """Compare probabilities [P] with what was found; None without them."""
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
    """Tell how many verdicts are wrong if only the surest are given."""
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


def wrong_pairs_of(
    distances: npt.NDArray[np.floating],
    probabilities: Float64 | None,
    dataset: LabelledPairs,
    threshold: Threshold,
) -> list[WrongPair]:
    """Choose the wrong pairs that lie furthest from the threshold, furthest first.

    A tile is in two of them at most.
    """
    is_wrong = _are_wrong(distances, dataset, threshold)
    order = np.argsort(-threshold.margins(distances), kind="stable")
    return [
        WrongPair(
            pair=place,
            tile_a=int(dataset.left[place]),
            tile_b=int(dataset.right[place]),
            distance=float(distances[place]),
            probability=None if probabilities is None else float(probabilities[place]),
            is_same=bool(dataset.is_same[place]),
        )
        for place in _spread(order[is_wrong[order]], dataset)
    ]


def _spread(places: Int64, dataset: LabelledPairs) -> list[int]:
    """Take the first of some pairs, leaving out those of tiles that were taken often enough."""
    times: Counter[int] = Counter()
    taken: list[int] = []
    for place in places.tolist():
        tiles = int(dataset.left[place]), int(dataset.right[place])
        if all(times[tile] < _MOST_TIMES for tile in tiles):
            times.update(tiles)
            taken.append(place)
        if len(taken) == _MOST_WRONG:
            break
    return taken


def strips_of(dataset: LabelledPairs, metrics: Metrics) -> list[Strip]:
    """Take a tile of each class by lot: one chosen for its answer would flatter or shame."""
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
