"""What makes labelled pairs unfit, or doubtful, to calibrate by."""

from typing import Final

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from histo_index.arrays import Int64
from histo_index.errors import InputError
from histo_index.search.bootstrap import FEWEST_UNITS, Estimate
from histo_index.search.inputs.labelled_pairs import Subject
from histo_index.wording import counted

# Below this two parameters are not fitted to two kinds of pairs, they are drawn by them.
_FEWEST_PAIRS: Final = 20
_FEWEST_OF_A_KIND: Final = 5
# An interval of accuracy wider than this cannot tell a good threshold from a bad one.
_WIDE: Final = 0.2
# A tile in more pairs than this share of them decides for all others.
_MUCH: Final = 0.5


def require_enough(subject: Subject) -> None:
    """Refuse pairs that cannot tell a threshold.

    Raises:
        InputError: they are too few, or all share one tile or group.
    """
    name, pairs = subject.pairs_from, len(subject.is_same)
    same = int(subject.is_same.sum())
    if pairs < _FEWEST_PAIRS or min(same, pairs - same) < _FEWEST_OF_A_KIND:
        raise InputError(
            f"{name}: {same} same and {pairs - same} different pairs are too few; expected at "
            f"least {_FEWEST_PAIRS}, {_FEWEST_OF_A_KIND} of each kind: label more"
        )
    unit, counts = _busiest(subject)
    if len(counts) < FEWEST_UNITS:
        raise InputError(
            f"{name}: the pairs are of {counted(len(counts), _unit(subject))}; expected "
            f"at least {FEWEST_UNITS}: label pairs of other ones"
        )
    if counts.max() == pairs:
        raise InputError(
            f"{name}: all {pairs} pairs share {unit}, so they tell of it alone; "
            "label pairs of other ones"
        )


def doubts_about(subject: Subject, accuracy: Estimate) -> list[str]:
    """Say what makes pairs doubtful, a line each.

    Args:
        subject: the pairs.
        accuracy: what they were found to allow.
    """
    found = [*_contradictions(subject), *_within_groups(subject)]
    unit, counts = _busiest(subject)
    if counts.max() > _MUCH * len(subject.is_same):
        found.append(f"{counts.max():,} of {len(subject.is_same):,} pairs share {unit}")
    if accuracy.low is None or accuracy.high is None:
        found.append(
            f"the {_unit(subject)}s are too few to say how accurate the threshold is; label more"
        )
    elif accuracy.high - accuracy.low > _WIDE:
        found.append(
            f"the accuracy is known no better than {accuracy.low:.2f}…{accuracy.high:.2f}; label "
            f"pairs of other {_unit(subject)}s"
        )
    if not subject.has_groups:
        found.append(
            "no groups: tiles of one slide or patient count as strangers, which makes intervals "
            "too narrow; pass --group COLUMN"
        )
    return found


def _unit(subject: Subject) -> str:
    return "group" if subject.has_groups else "tile"


def _busiest(subject: Subject) -> tuple[str, Int64]:
    """Name the group, or tile, of most pairs; and count the pairs of each: int64 [units used]."""
    left, right = subject.groups[subject.left], subject.groups[subject.right]
    # A pair within one group is one of its pairs, not two.
    ends = np.concatenate([left, right[left != right]])
    codes, counts = np.unique(ends, return_counts=True)
    return f"{_unit(subject)} {subject.group_names[codes[counts.argmax()]]}", counts


def _contradictions(subject: Subject) -> list[str]:
    """Find different pairs whose tiles a chain of same pairs joins: a = b, b = c, a ≠ c."""
    left, right, same = subject.left, subject.right, subject.is_same
    count = len(subject.rows)
    links = coo_array((np.ones(same.sum()), (left[same], right[same])), shape=(count, count))
    chains = connected_components(links, directed=False)[1]
    wrong = np.flatnonzero(~same & (chains[left] == chains[right]))
    if not len(wrong):
        return []
    first = subject.names[left[wrong[0]]], subject.names[right[wrong[0]]]
    return [
        f"{counted(len(wrong), 'pair')} said to be different against same ones "
        f"(a = b, b = c, a ≠ c); the first: {first[0]} and {first[1]}"
    ]


def _within_groups(subject: Subject) -> list[str]:
    if not subject.has_groups:
        return []
    is_within = subject.groups[subject.left] == subject.groups[subject.right]
    count = int((is_within & subject.is_same).sum())
    if not count:
        return []
    return [
        f"{count:,} of {int(subject.is_same.sum()):,} same pairs are of one group, where tiles "
        "look alike for other reasons; label same pairs across groups"
    ]
