"""The result of an evaluation: all numbers that a report needs.

`evaluate.py` computes it. Tiles are given by their index among the T of the dataset, pairs by their
index among its P.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from histo_index.arrays import Float64, Int64
from histo_index.search.bootstrap import Estimate
from histo_index.search.calibration.threshold import Threshold
from histo_index.search.classification.measure import ClassMetrics
from histo_index.search.evaluation.leakage import Leakage
from histo_index.search.inputs.labelled_pairs import LabelledPairs
from histo_index.search.pair_metrics import RocCurve
from histo_index.search.retrieval_metrics import Ranking
from histo_index.search.tabular import Tabular

# Points of a curve in JSON; the arrays have them all.
_MOST_POINTS: Final = 200


@dataclass(frozen=True, kw_only=True)
class Contender:
    """Metrics of one way of comparing tiles: the index or a baseline.

    Attributes:
        name: `index`, or a baseline: `colour histogram`, `random weights`, `majority`.
        pairs: figures of the pairs by name (`compare.PAIR_METRICS`).
        retrieval: figures of the neighbours by `micro` and `macro`, then by name
            (`retrieval_metrics.RETRIEVAL_METRICS`); empty without classes.
        lead: of a baseline, by how much the index is ahead of it on the same tiles: `roc_auc` and
            `accuracy@1`; empty for the index itself.
        curve: what every threshold would do: ROC and DET are drawn from it. None of the majority,
            which has no threshold.
    """

    name: str
    pairs: dict[str, Estimate]
    retrieval: dict[str, dict[str, Estimate]]
    lead: dict[str, Estimate]
    curve: RocCurve | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, the curve thinned."""
        curve = None if self.curve is None else _thinned(self.curve.__dict__)
        return {**asdict(self), "curve": curve}


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """Predicted probabilities and observed shares in bins of equal width; NaN where empty.

    Attributes:
        said: mean probability of each bin's pairs, float64 [10].
        found: share of same pairs in it.
        share: its share of all pairs.
    """

    said: Float64
    found: Float64
    share: Float64


@dataclass(frozen=True, kw_only=True)
class RiskCoverage:
    """Error among the pairs that are answered, the most certain first.

    Attributes:
        coverage: share of the pairs that are answered, float64 [M], rising to 1.
        risk: share of those that are wrong, float64 [M].
        answered: share of the pairs that `unsure` leaves answered; None without a calibration.
        risk_answered: share of those that are wrong; None without a calibration.
    """

    coverage: Float64
    risk: Float64
    answered: Estimate | None
    risk_answered: Estimate | None


@dataclass(frozen=True, kw_only=True)
class WrongPair:
    """A pair whose verdict is wrong.

    Attributes:
        pair: its index among the P.
        tile_a: index of the first tile.
        tile_b: index of the second.
        distance: squared distance.
        probability: that it is the same; None without a calibration.
        is_same: what the label says; the verdict says the opposite.
    """

    pair: int
    tile_a: int
    tile_b: int
    distance: float
    probability: float | None
    is_same: bool


@dataclass(frozen=True, kw_only=True)
class Strip:
    """A tile of a class and its nearest neighbours in other groups.

    Attributes:
        label: the class.
        query: index of the tile.
        neighbours: indices of its neighbours, nearest first.
        distances: squared distances of them.
    """

    label: str
    query: int
    neighbours: list[int]
    distances: list[float]


@dataclass(frozen=True, kw_only=True)
class Evaluation(Tabular):
    """Metrics of an index on labelled tiles, next to its baselines.

    Attributes:
        headline: the first thing to know, one line.
        warnings: what makes the figures doubtful, a line each, which names no tile: which they are
            stands in `dataset.problems` and in the log.
        dataset: the tiles, classes, groups and labelled pairs.
        threshold: what verdicts rest on; if the index has none, fitted on these very pairs, which
            is good for pictures only.
        index: metrics of the index.
        baselines: metrics of the baselines.
        distances: squared distances of the pairs, float32 [P].
        probabilities: of the same, float64 [P]; None without a calibration.
        reliability: None without a calibration.
        risk_coverage: error by share of answered pairs.
        confusion: int64 [C, C], queries of a class (row) whose nearest neighbour in another group
            is of a class (column); None without classes.
        ranking: neighbours of the queries; None without classes.
        wrong_pairs: the most confidently wrong, worst first, no tile in more than two of them.
        strips: of each class.
        leakage: duplicates across groups and with the calibration.
        distance: what index and random weights are compared by: `diffused` or `plain`.
        provenance: of encoder, data and calibration.
        classes: how true class probabilities are; None where classes or groups are too few.
    """

    headline: str
    warnings: list[str]
    dataset: LabelledPairs
    threshold: Threshold
    index: Contender
    baselines: list[Contender]
    distances: npt.NDArray[np.float32]
    probabilities: Float64 | None
    reliability: Reliability | None
    risk_coverage: RiskCoverage
    confusion: Int64 | None
    ranking: Ranking | None
    wrong_pairs: list[WrongPair]
    strips: list[Strip]
    leakage: Leakage
    distance: str
    provenance: dict[str, Any]
    classes: ClassMetrics | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON: tiles by their image ids, long curves thinned."""
        names = self.dataset.names
        return {
            "headline": self.headline,
            "warnings": self.warnings,
            "tiles": len(names),
            "classes": self.dataset.classes,
            "groups": len(self.dataset.group_names) if self.dataset.has_groups else None,
            "pairs": len(self.distances),
            "same": int(self.dataset.is_same.sum()),
            "distance": self.distance,
            "threshold": self.threshold.value,
            "threshold_from": self.threshold.origin,
            "figures": self.index.as_dict(),
            "baselines": [baseline.as_dict() for baseline in self.baselines],
            "reliability": None if self.reliability is None else _lists(self.reliability.__dict__),
            "risk_coverage": self._risk_coverage(),
            "confusion": None if self.confusion is None else self.confusion.tolist(),
            "class_probabilities": None if self.classes is None else asdict(self.classes),
            "wrong_pairs": [
                {**wrong.__dict__, "tile_a": names[wrong.tile_a], "tile_b": names[wrong.tile_b]}
                for wrong in self.wrong_pairs
            ],
            "leakage": self.leakage.as_dict(names),
            "problems": self.dataset.problems,
            "provenance": self.provenance,
        }

    @property
    def table(self) -> pa.Table:
        """The metrics: a row per contender, kind (`pairs`, `micro`, `macro`) and metric."""
        rows = [
            {"contender": each.name, "kind": kind, "metric": name, **asdict(figure)}
            for each in (self.index, *self.baselines)
            for kind, figures in {"pairs": each.pairs, **each.retrieval}.items()
            for name, figure in figures.items()
        ]
        return pa.Table.from_pylist(rows)

    def _risk_coverage(self) -> dict[str, Any]:
        curve = {"coverage": self.risk_coverage.coverage, "risk": self.risk_coverage.risk}
        points = {
            "answered": self.risk_coverage.answered,
            "risk_answered": self.risk_coverage.risk_answered,
        }
        return {
            **_thinned(curve),
            **{name: None if point is None else asdict(point) for name, point in points.items()},
        }


def _thinned(columns: Mapping[str, npt.NDArray[np.floating]]) -> dict[str, list[float]]:
    """Select evenly spread points of parallel arrays, including the first and the last."""
    count = len(next(iter(columns.values())))
    points = np.unique(np.linspace(0, count - 1, min(count, _MOST_POINTS)).astype(np.int64))
    return _lists({name: column[points] for name, column in columns.items()})


def _lists(columns: Mapping[str, npt.NDArray[np.floating]]) -> dict[str, list[float]]:
    return {name: column.tolist() for name, column in columns.items()}
