"""Checks of labelled pairs before a calibration."""

from typing import Final

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from histo_index.arrays import Int64
from histo_index.errors import InputError
from histo_index.search.bootstrap import FEWEST_UNITS, Estimate
from histo_index.search.inputs.labelled_pairs import LabelledPairs
from histo_index.wording import counted

# Fewer pairs do not determine the two parameters of the fit.
FEWEST_PAIRS: Final = 20
FEWEST_OF_A_KIND: Final = 5
# A wider interval of accuracy does not separate a good threshold from a bad one.
_WIDE: Final = 0.2
# A tile in a larger share of the pairs dominates the fit.
_MUCH: Final = 0.5


def require_enough(dataset: LabelledPairs) -> None:
    """Check that the pairs suffice to fit a threshold.

    Raises:
        InputError: they are too few, or all share one tile or group.
    """
    name, pairs = dataset.pairs_from, len(dataset.is_same)
    same = int(dataset.is_same.sum())
    if pairs < FEWEST_PAIRS or min(same, pairs - same) < FEWEST_OF_A_KIND:
        raise InputError(
            f"{name}: {same} same and {pairs - same} different pairs are too few; expected at "
            f"least {FEWEST_PAIRS}, {FEWEST_OF_A_KIND} of each kind: label more"
        )
    unit, counts = _busiest(dataset)
    if len(counts) < FEWEST_UNITS:
        raise InputError(
            f"{name}: the pairs are of {counted(len(counts), _unit(dataset))}; expected "
            f"at least {FEWEST_UNITS}: label pairs of others, or pass --group path to treat every "
            "tile as independent (tiles of one patient are not: accuracy then looks too good)"
        )
    if counts.max() == pairs:
        raise InputError(
            f"{name}: all {pairs} pairs share {unit}; add pairs that do not involve it"
        )


def find_warnings(dataset: LabelledPairs, accuracy: Estimate) -> list[str]:
    """Return warnings about the pairs, one line each.

    Args:
        dataset: the pairs.
        accuracy: cross-validated, of the threshold fitted to them.
    """
    found = [*_contradictions(dataset), *_within_groups(dataset)]
    unit, counts = _busiest(dataset)
    if counts.max() > _MUCH * len(dataset.is_same):
        found.append(f"{counts.max():,} of {len(dataset.is_same):,} pairs share {unit}")
    if accuracy.low is None or accuracy.high is None:
        found.append(
            f"too few {_unit(dataset)}s to estimate the accuracy of the threshold; label more"
        )
    elif accuracy.high - accuracy.low > _WIDE:
        found.append(
            f"the accuracy is uncertain, {accuracy.low:.2f}…{accuracy.high:.2f}; label "
            f"pairs of other {_unit(dataset)}s"
        )
    if not dataset.has_groups:
        found.append(
            "no groups: tiles of one patient are treated as independent, so intervals are too "
            "narrow; pass --group COLUMN"
        )
    return found


def _unit(dataset: LabelledPairs) -> str:
    return "group" if dataset.has_groups else "tile"


def _busiest(dataset: LabelledPairs) -> tuple[str, Int64]:
    """Name the group, or tile, of most pairs; and count the pairs of each: int64 [units used]."""
    left, right = dataset.groups[dataset.left], dataset.groups[dataset.right]
    # A pair within one group is one of its pairs, not two.
    ends = np.concatenate([left, right[left != right]])
    codes, counts = np.unique(ends, return_counts=True)
    return f"{_unit(dataset)} {dataset.group_names[codes[counts.argmax()]]}", counts


def _contradictions(dataset: LabelledPairs) -> list[str]:
    """Find different pairs whose tiles a chain of same pairs joins: a = b, b = c, a ≠ c."""
    left, right, same = dataset.left, dataset.right, dataset.is_same
    count = len(dataset.rows)
    links = coo_array((np.ones(same.sum()), (left[same], right[same])), shape=(count, count))
    chains = connected_components(links, directed=False)[1]
    wrong = np.flatnonzero(~same & (chains[left] == chains[right]))
    if not len(wrong):
        return []
    first = dataset.names[left[wrong[0]]], dataset.names[right[wrong[0]]]
    return [
        f"{counted(len(wrong), 'pair')} labelled different, contradicting same pairs "
        f"(a = b, b = c, a ≠ c); the first: {first[0]} and {first[1]}"
    ]


def _within_groups(dataset: LabelledPairs) -> list[str]:
    if not dataset.has_groups:
        return []
    is_within = dataset.groups[dataset.left] == dataset.groups[dataset.right]
    count = int((is_within & dataset.is_same).sum())
    if not count:
        return []
    return [
        f"{count:,} of {int(dataset.is_same.sum()):,} same pairs are of one group, where tiles "
        "look alike for other reasons; label same pairs across groups"
    ]
