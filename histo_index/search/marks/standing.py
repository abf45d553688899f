"""How far the marks of an index have come: what a calibration still needs, and how sure it is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from histo_index.errors import InputError
from histo_index.indexer.reader import OpenIndex
from histo_index.search.bootstrap import FEWEST_UNITS, Estimate
from histo_index.search.calibration.checks import FEWEST_OF_A_KIND, FEWEST_PAIRS
from histo_index.search.calibration.fit import fit
from histo_index.search.calibration.objectives import Objective
from histo_index.search.distance import indexed_pair_distances
from histo_index.search.inputs.labelled_pairs import LabelledPairs
from histo_index.search.inputs.labels import own_groups
from histo_index.search.marks.collect import collect
from histo_index.search.marks.dataset import marked_pairs, usable_marks
from histo_index.search.marks.file import read_marks
from histo_index.search.marks.record import RANDOM, SAME, SKIPPED

_STEPS = 3


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
        threshold: squared distance, 0…4, with its 95 % interval.
    """

    pairs: int
    threshold: Estimate

    @property
    def width(self) -> float | None:
        """Width of the interval; None where the marks do not bound it."""
        low, high = self.threshold.low, self.threshold.high
        return None if low is None or high is None else high - low


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
        steps: the threshold after some of the pairs, the last after all; empty while it cannot be
            fitted.
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


def find_standing(index: OpenIndex, *, group: str | None = None) -> Standing:
    """Count the marks of an index, and fit the threshold if there are enough."""
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
    return Standing(
        pairs=len(kept),
        random=sum(mark.drawn == RANDOM for mark in kept),
        skipped=sum(mark.answer == SKIPPED for mark in found.pairs),
        labels=len(found.labels),
        answered_by_two=found.answered_by_two(),
        disagreements=len(found.disagreements()),
        needs=needs,
        steps=_steps(index, marked_pairs(index, group=group)) if is_enough else [],
    )


def _steps(index: OpenIndex, dataset: LabelledPairs) -> list[Step]:
    nothing = np.empty((0, index.manifest.vector_size), np.float16)
    ends = dataset.rows[dataset.left], dataset.rows[dataset.right]
    distances = indexed_pair_distances(index, nothing, *ends)
    found = []
    for count in np.unique(np.linspace(FEWEST_PAIRS, len(distances), _STEPS).astype(int)).tolist():
        sample = replace(
            dataset, left=dataset.left[:count], right=dataset.right[:count],
            is_same=dataset.is_same[:count],
            weights=None if dataset.weights is None else dataset.weights[:count],
        ).sample(distances[:count])  # fmt: skip
        try:
            fitted = fit(sample, Objective())
        except InputError:  # same pairs are not nearer, or there is one kind only
            continue
        ends_of = fitted.threshold_interval
        threshold = Estimate.of(fitted.threshold, ends_of.low, ends_of.high)
        found.append(Step(pairs=count, threshold=threshold))
    return found
