"""What an encoder has to beat: colour alone, its own architecture untrained, always one answer."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from histo_index.arrays import Float64, Int64
from histo_index.search import pair_metrics as metrics
from histo_index.search.bootstrap import Estimate
from histo_index.search.evaluation.compare import (
    CROSS_FITTED,
    Judged,
    curve_of,
    difference,
    estimates,
    judge,
)
from histo_index.search.evaluation.result import Contender
from histo_index.search.inputs.labelled_pairs import Subject
from histo_index.search.pair_metrics import PairFigures
from histo_index.search.retrieval_metrics import FIGURES, micro_and_macro

COLOUR: Final = "colour histogram"
RANDOM: Final = "random weights"
MAJORITY: Final = "majority"
# What the index is compared by: pairs and neighbours, neither of which needs a threshold.
_AUC, _NEAREST = "roc_auc", FIGURES[0]
_SPOKEN: Final = {
    _AUC: "pair ROC-AUC",
    _NEAREST: "nearest-neighbour accuracy",
    CROSS_FITTED: "pair accuracy",
}
# Tiles that floors are made of: decoding and a ResNeXt-50 do 50 to 100 a second on two cores.
_MOST_TILES: Final = 2_000


def compare_with_floors(
    vectors: npt.NDArray[np.floating],
    subject: Subject,
    floor_vectors: Callable[[Int64], Mapping[str, npt.NDArray[np.floating]]],
) -> list[Contender]:
    """Judge each floor, and by how much the index is ahead of it, on the same tiles.

    Args:
        vectors: floats [T, D] of the index.
        subject: what all are judged on; of many tiles, some drawn by lot.
        floor_vectors: rows of the index to vectors of each floor by name.
    """
    chosen = subject.thinned(_MOST_TILES)
    part = subject.part(chosen)
    own = judge(vectors[chosen], part)
    return [
        _contender(name, judge(other, part), own, part)
        for name, other in floor_vectors(part.rows).items()
    ]


def _contender(name: str, floor: Judged, own: Judged, subject: Subject) -> Contender:
    mine, its = (PairFigures(each.distances, subject.is_same) for each in (own, floor))
    units = subject.groups[subject.left], subject.groups[subject.right]
    lead = {_AUC: difference(lambda w: mine.roc_auc(w) - its.roc_auc(w), *units)}
    if own.values is not None and floor.values is not None and own.ranking is not None:
        gaps = own.values[:, 0] - floor.values[:, 0]
        lead[_NEAREST] = _mean_lead(gaps, subject.groups[own.ranking.queries])
    return Contender(
        name=name,
        pairs=floor.pairs,
        retrieval=floor.retrieval,
        lead=lead,
        curve=curve_of(floor, subject),
    )


def _mean_lead(gaps: Float64, units_a: Int64, units_b: Int64 | None = None) -> Estimate:
    return difference(lambda w: metrics.mean(gaps, w), units_a, units_b)


def majority(subject: Subject, judged: Judged) -> Contender:
    """Judge what always gives the most frequent answer, of pairs and of classes."""
    is_common = subject.is_same == (subject.is_same.mean() >= 0.5)
    units = subject.groups[subject.left], subject.groups[subject.right]
    (share,) = estimates(lambda w: np.array([metrics.share(is_common, w)]), *units)
    half = Estimate(value=0.5, low=0.5, high=0.5)
    pairs = {"accuracy": share, "balanced_accuracy": half, CROSS_FITTED: share, _AUC: half}
    retrieval: dict[str, dict[str, Estimate]] = {}
    lead = {}
    if judged.ranking is not None and judged.values is not None:
        own = subject.labels[judged.ranking.queries]
        groups = subject.groups[judged.ranking.queries]
        hits = (own == np.bincount(own).argmax()).astype(np.float64)
        averages = estimates(
            lambda w: np.concatenate(micro_and_macro(hits[:, None], own, w)), groups
        )
        retrieval = {"micro": {_NEAREST: averages[0]}, "macro": {_NEAREST: averages[1]}}
        lead[_NEAREST] = _mean_lead(judged.values[:, 0] - hits, groups)
    return Contender(name=MAJORITY, pairs=pairs, retrieval=retrieval, lead=lead)


def headline(own: Contender, floors: Sequence[Contender], *, is_trained: bool) -> str:
    """Say first whether the index is worth anything here."""
    kind = "The encoder" if is_trained else "The encoder is untrained, and"
    behind = [
        (floor, name, lead)
        for floor in floors
        for name, lead in floor.lead.items()
        if lead.low is None or not lead.low > 0
    ]
    if behind:
        floor, name, lead = min(behind, key=lambda entry: entry[2].value or 0.0)
        shown = "does not beat" if not (lead.value or 0.0) > 0 else "is not shown to beat"
        kind = kind if is_trained else kind.replace(", and", ": it")
        return (
            f"{kind} {shown} {_named(floor.name)} here: {_SPOKEN[name]} "
            f"{_figure(own, name)} against {_figure(floor, name)} (lead {_lead(lead)})"
        )
    names = [floor.name for floor in floors if floor.lead]
    if COLOUR not in names:
        return f"{kind} was not compared with colour or random weights: nothing says what it adds"
    others = " and ".join(
        f"{_figure(floor, _AUC)} ({floor.name})" for floor in floors if floor.name != MAJORITY
    )
    verb = "beats" if is_trained else "yet beats"
    return f"{kind} {verb} every floor here: pair ROC-AUC {_figure(own, _AUC)} against {others}"


def _named(floor: str) -> str:
    return {COLOUR: "a colour histogram", MAJORITY: "always giving the commonest answer"}.get(
        floor, floor
    )


def _figure(contender: Contender, name: str) -> str:
    found = contender.pairs.get(name) or contender.retrieval["micro"][name]
    return "unknown" if found.value is None else f"{found.value:.3f}"


def _lead(lead: Estimate) -> str:
    ends = (
        "unknown" if lead.low is None or lead.high is None else f"{lead.low:+.3f}…{lead.high:+.3f}"
    )
    return f"{lead.value or 0.0:+.3f}, 95 % interval {ends}"
