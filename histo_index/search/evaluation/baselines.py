"""Baselines: a colour histogram, the untrained network, the most frequent answer."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from histo_index.arrays import Float64, Floats, Int64
from histo_index.search import pair_metrics
from histo_index.search.bootstrap import Estimate
from histo_index.search.evaluation.compare import (
    CROSS_VALIDATED,
    Metrics,
    compute_metrics,
    curve_of,
    difference,
    estimates,
)
from histo_index.search.evaluation.result import Contender
from histo_index.search.inputs.labelled_pairs import LabelledPairs
from histo_index.search.pair_metrics import SortedPairs
from histo_index.search.retrieval_metrics import RETRIEVAL_METRICS, micro_and_macro

COLOUR: Final = "colour histogram"
RANDOM: Final = "random weights"
MAJORITY: Final = "majority"
# What the index is compared by: pairs and neighbours; neither needs a threshold.
_AUC, _NEAREST = "roc_auc", RETRIEVAL_METRICS[0]
_LABELS: Final = {
    _AUC: "pair ROC-AUC",
    _NEAREST: "nearest-neighbour accuracy",
    CROSS_VALIDATED: "pair accuracy",
}


def compare_with_baselines(
    own: Metrics, subset: LabelledPairs, baselines: Mapping[str, Floats]
) -> list[Contender]:
    """Compute the metrics of each baseline and the lead of the index over it, on the same tiles.

    Args:
        own: distances and ranks of the index.
        subset: T tiles and their pairs.
        baselines: name of each baseline to its vectors, floats [T, D'].
    """
    return [
        _contender(name, compute_metrics(theirs, subset), own, subset)
        for name, theirs in baselines.items()
    ]


def _contender(name: str, baseline: Metrics, own: Metrics, dataset: LabelledPairs) -> Contender:
    mine, its = (SortedPairs(each.distances, dataset.is_same) for each in (own, baseline))
    units = dataset.groups[dataset.left], dataset.groups[dataset.right]
    lead = {_AUC: difference(lambda w: mine.curve(w).area - its.curve(w).area, *units)}
    if own.values is not None and baseline.values is not None and own.ranking is not None:
        gaps = own.values[:, 0] - baseline.values[:, 0]
        lead[_NEAREST] = _mean_lead(gaps, dataset.groups[own.ranking.queries])
    return Contender(
        name=name,
        pairs=baseline.pairs,
        retrieval=baseline.retrieval,
        lead=lead,
        curve=curve_of(baseline, dataset),
    )


def _mean_lead(gaps: Float64, units_a: Int64, units_b: Int64 | None = None) -> Estimate:
    return difference(lambda w: pair_metrics.mean(gaps, w), units_a, units_b)


def majority(dataset: LabelledPairs, metrics: Metrics) -> Contender:
    """Compute the metrics of always giving the most frequent answer, for pairs and classes."""
    is_common = dataset.is_same == (dataset.is_same.mean() >= 0.5)
    units = dataset.groups[dataset.left], dataset.groups[dataset.right]
    (share,) = estimates(lambda w: np.array([pair_metrics.share(is_common, w)]), *units)
    half = Estimate(value=0.5, low=0.5, high=0.5)
    pairs = {"accuracy": share, "balanced_accuracy": half, CROSS_VALIDATED: share, _AUC: half}
    retrieval: dict[str, dict[str, Estimate]] = {}
    lead = {}
    if metrics.ranking is not None and metrics.values is not None:
        own = dataset.labels[metrics.ranking.queries]
        groups = dataset.groups[metrics.ranking.queries]
        hits = (own == np.bincount(own).argmax()).astype(np.float64)
        averages = estimates(
            lambda w: np.concatenate(micro_and_macro(hits[:, None], own, w)), groups
        )
        retrieval = {"micro": {_NEAREST: averages[0]}, "macro": {_NEAREST: averages[1]}}
        lead[_NEAREST] = _mean_lead(metrics.values[:, 0] - hits, groups)
    return Contender(name=MAJORITY, pairs=pairs, retrieval=retrieval, lead=lead)


def headline(own: Contender, baselines: Sequence[Contender], *, is_trained: bool) -> str:
    """Summarise in one line whether the index beats its baselines."""
    kind = "The encoder" if is_trained else "The encoder is untrained, and"
    behind = [
        (baseline, name, lead)
        for baseline in baselines
        for name, lead in baseline.lead.items()
        if lead.low is None or not lead.low > 0
    ]
    if behind:
        baseline, name, lead = min(behind, key=lambda entry: entry[2].value or 0.0)
        shown = "does not beat" if not (lead.value or 0.0) > 0 else "is not shown to beat"
        kind = kind if is_trained else kind.replace(", and", ": it")
        return (
            f"{kind} {shown} {_named(baseline.name)} here: {_LABELS[name]} "
            f"{_figure(own, name)} against {_figure(baseline, name)} (lead {_lead(lead)})"
        )
    names = [baseline.name for baseline in baselines if baseline.lead]
    if COLOUR not in names:
        return f"{kind} was not compared with colour or random weights: its gain is unknown"
    others = " and ".join(
        f"{_figure(baseline, _AUC)} ({baseline.name})"
        for baseline in baselines
        if baseline.name != MAJORITY
    )
    verb = "beats" if is_trained else "yet beats"
    return f"{kind} {verb} every baseline here: pair ROC-AUC {_figure(own, _AUC)} against {others}"


def _named(baseline: str) -> str:
    return {COLOUR: "a colour histogram", MAJORITY: "always giving the most frequent answer"}.get(
        baseline, baseline
    )


def _figure(contender: Contender, name: str) -> str:
    found = contender.pairs.get(name) or contender.retrieval["micro"][name]
    return "unknown" if found.value is None else f"{found.value:.3f}"


def _lead(lead: Estimate) -> str:
    ends = (
        "unknown"
        if lead.low is None or lead.high is None
        else f"{lead.low:+z.3f}…{lead.high:+z.3f}"
    )
    return f"{lead.value or 0.0:+z.3f}, 95 % interval {ends}"
