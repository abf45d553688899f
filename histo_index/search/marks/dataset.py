"""Marked pairs as labelled pairs of an index.

Pairs near the threshold are proposed more often than their share. Each pair therefore counts by
the inverse of how likely it was proposed: shares, curve and intervals are those of random pairs.

Source: Horvitz and Thompson (1952), A generalization of sampling without replacement from a finite
universe, Journal of the American Statistical Association 47(260).
"""

import numpy as np
import pyarrow as pa

from histo_index.errors import InputError
from histo_index.indexer.reader import OpenIndex
from histo_index.search.inputs.labelled_pairs import LabelledPairs
from histo_index.search.inputs.labels import has_own_groups, own_groups
from histo_index.search.marks.collect import collect
from histo_index.search.marks.file import read_marks
from histo_index.search.marks.record import RANDOM, SAME, PairMark
from histo_index.wording import counted

_NAME = "the marks"


def marked_pairs(
    index: OpenIndex, *, group: str | None = None, only_random: bool = False
) -> LabelledPairs:
    """Read the marked pairs of an index.

    Args:
        index: the index.
        group: column of patient or slide ids; default `group`.
        only_random: leave out pairs that were proposed because they are near the threshold.

    Raises:
        InputError: no pair is marked, or all of them are of one kind.
    """
    found = collect(read_marks(index.folder))
    marks = [mark for mark in found.agreed() if mark.drawn == RANDOM or not only_random]
    problems = [
        f"{_NAME}: users disagree about a pair, {mark.user or 'somebody'} and "
        f"{other.user or 'somebody'}; it is left out"
        for mark, other in found.disagreements()
    ]
    both = index.find_contents(
        pa.array([one for mark in marks for one in (mark.a, mark.b)], pa.string())
    )
    ends = both.reshape(-1, 2)
    is_usable = (ends >= 0).all(axis=1) & (ends[:, 0] != ends[:, 1])
    problems += [f"{_NAME}: a tile of a pair is no longer in the index"] * int((~is_usable).sum())
    kept = [mark for mark, usable in zip(marks, is_usable.tolist(), strict=True) if usable]
    _require_both_kinds(kept)
    ends = ends[is_usable]
    rows = np.unique(ends)
    left, right = (np.searchsorted(rows, side) for side in ends.T)
    names, groups = np.unique(
        np.asarray(own_groups(index, rows, group), object).astype(str), return_inverse=True
    )
    weights = 1 / np.array([mark.selection for mark in kept])
    return LabelledPairs(
        rows=rows,
        names=index.rows["image_id"].take(pa.array(rows)).to_pylist(),
        classes=[],
        labels=np.full(len(rows), -1, np.int64),
        group_names=names.tolist(),
        groups=groups.astype(np.int64),
        left=left,
        right=right,
        is_same=np.array([mark.answer == SAME for mark in kept]),
        pairs_from="random marks" if only_random else "marks",
        labels_from=None,
        has_groups=has_own_groups(index, group),
        problems=problems,
        weights=weights / weights.mean(),
    )


def _require_both_kinds(marks: list[PairMark]) -> None:
    same = sum(mark.answer == SAME for mark in marks)
    if not 0 < same < len(marks):
        raise InputError(
            f"{_NAME}: {counted(same, 'same pair')} and {len(marks) - same} different; "
            "expected both kinds: mark more on the page of `histo-index serve`"
        )
