"""How far the marks of an index have come: what a calibration still needs, and how sure it is."""

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Final

import numpy as np

from histo_index.arrays import Bools
from histo_index.errors import InputError
from histo_index.indexer.reader import OpenIndex
from histo_index.search.bootstrap import FEWEST_UNITS, Estimate
from histo_index.search.calibration.checks import FEWEST_OF_A_KIND, FEWEST_PAIRS
from histo_index.search.calibration.fit import Fitted, fit
from histo_index.search.calibration.objectives import Objective
from histo_index.search.distance import indexed_pair_distances
from histo_index.search.inputs.labels import own_groups
from histo_index.search.inputs.sample import Sample
from histo_index.search.marks.collect import collect
from histo_index.search.marks.dataset import usable_marks
from histo_index.search.marks.file import read_marks
from histo_index.search.marks.record import RANDOM, SAME, SKIPPED, PairMark

# At most so many steps, each after a multiple of so many pairs: one in ten marks needs a new fit.
_STEPS: Final = 3
_EVERY: Final = 10


@dataclass(frozen=True, kw_only=True)
class Need:
    """Something that a calibration needs.

    Attributes:
        name: what it is.
        found: how much there is.
        least: how much is needed.
    """

    name: str
    found: int
    least: int

    @property
    def is_met(self) -> bool:
        """Whether there is enough."""
        return self.found >= self.least


@dataclass(frozen=True, kw_only=True)
class Step:
    """The threshold after so many marked pairs.

    Attributes:
        pairs: how many.
        threshold: squared distance, 0…4, with its 95 % interval; None where it cannot be fitted.
        problem: why it cannot be fitted, or separates nothing; None if it does.
    """

    pairs: int
    threshold: Estimate
    problem: str | None = None

    @property
    def width(self) -> float | None:
        """Width of the interval; None where the marks do not bound it, or there is a problem."""
        low, high = self.threshold.low, self.threshold.high
        return None if low is None or high is None or self.problem else high - low


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How far the marks have come.

    Attributes:
        pairs: of tiles of the index, with an answer on which all agree.
        random: of these, drawn at random.
        skipped: pairs without an answer.
        labels: tiles with a label.
        answered_by_two: pairs that several users answered.
        disagreements: pairs on which users disagree.
        needs: of a calibration.
        steps: the threshold after some of the pairs, the last after a multiple of ten; empty while
            a calibration needs more.
    """

    pairs: int
    random: int
    skipped: int
    labels: int
    answered_by_two: int
    disagreements: int
    needs: Sequence[Need]
    steps: Sequence[Step]

    @property
    def is_enough(self) -> bool:
        """Whether a calibration can be fitted."""
        return all(need.is_met for need in self.needs)


def find_standing(
    index: OpenIndex, *, group: str | None = None, known: MutableMapping[str, Step] | None = None
) -> Standing:
    """Count the marks of an index, and fit the threshold if there are enough.

    Args:
        index: the index.
        group: column of patient or slide ids; default `group`.
        known: steps that were fitted before; new ones are added. A bootstrap takes half a second.
    """
    found = collect(read_marks(index.folder))
    kept, ends = usable_marks(index, found.agreed())
    same = sum(mark.answer == SAME for mark in kept)
    groups = len(set(own_groups(index, np.unique(ends), group)))
    needs = [
        Need(name="marked pairs", found=len(kept), least=FEWEST_PAIRS),
        Need(name="same pairs", found=same, least=FEWEST_OF_A_KIND),
        Need(name="different pairs", found=len(kept) - same, least=FEWEST_OF_A_KIND),
        Need(name="groups", found=groups, least=FEWEST_UNITS),
    ]
    is_enough = all(need.is_met for need in needs)
    known = {} if known is None else known
    return Standing(
        pairs=len(kept),
        random=sum(mark.drawn == RANDOM for mark in kept),
        skipped=sum(mark.answer == SKIPPED for mark in found.pairs),
        labels=len(found.labels),
        answered_by_two=found.answered_by_two(),
        disagreements=len(found.disagreements()),
        needs=needs,
        steps=[_step(index, kept[:count], group, known) for count in _counts(len(kept))]
        if is_enough
        else [],
    )


def _counts(pairs: int) -> list[int]:
    """Select after how many of the pairs the threshold is shown."""
    evenly = np.linspace(FEWEST_PAIRS, pairs, _STEPS).astype(int)
    counts: list[int] = np.unique(evenly // _EVERY * _EVERY).tolist()
    return counts


def _step(
    index: OpenIndex, marks: Sequence[PairMark], group: str | None, known: MutableMapping[str, Step]
) -> Step:
    """Return the threshold after some marks, from those that are known or fitted now."""
    content = [(mark.a, mark.b, mark.answer, mark.selection) for mark in marks]
    key = repr((index.manifest.generation, group, content))
    if key not in known:
        known[key] = _fit(index, marks, group)
    return known[key]


def _fit(index: OpenIndex, marks: Sequence[PairMark], group: str | None) -> Step:
    is_same = np.array([mark.answer == SAME for mark in marks])
    if is_same.all() or not is_same.any():
        return _unknown(marks, "all of these pairs are of one kind")
    try:
        fitted = fit(_sample(index, marks, is_same, group), Objective())
    except InputError:
        return _unknown(marks, "same pairs are not nearer than different ones")
    ends = fitted.threshold_interval
    threshold = Estimate.of(fitted.threshold, ends.low, ends.high)
    return Step(pairs=len(marks), threshold=threshold, problem=_problem(fitted))


def _problem(fitted: Fitted) -> str | None:
    """Say that a threshold is at an end of the scale, so that it separates nothing."""
    if fitted.threshold <= fitted.curve.distance[0]:
        return "“different” is likelier at every distance"
    if fitted.threshold >= fitted.curve.distance[-1]:
        return "“same” is likelier at every distance"
    return None


def _unknown(marks: Sequence[PairMark], problem: str) -> Step:
    return Step(pairs=len(marks), threshold=Estimate.of(nan, nan, nan), problem=problem)


def _sample(
    index: OpenIndex, marks: Sequence[PairMark], is_same: Bools, group: str | None
) -> Sample:
    _, ends = usable_marks(index, marks)
    nothing = np.empty((0, index.manifest.vector_size), np.float16)
    groups = np.asarray(own_groups(index, ends.ravel(), group), object).astype(str)
    units = np.unique(groups, return_inverse=True)[1].reshape(-1, 2)
    weights = 1 / np.array([mark.selection for mark in marks])
    return Sample(
        distances=indexed_pair_distances(index, nothing, *ends.T).astype(np.float64),
        is_same=is_same, units_a=units[:, 0], units_b=units[:, 1],
        prior=float(np.average(is_same, weights=weights)), weights=weights / weights.mean(),
    )  # fmt: skip
