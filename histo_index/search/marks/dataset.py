"""Marked pairs as labelled pairs of an index.

Pairs near the threshold are proposed more often than their share. Each pair therefore counts by
the inverse of how likely it was proposed: shares, curve and intervals are those of random pairs.

Source: Horvitz and Thompson (1952), A generalization of sampling without replacement from a finite
universe, Journal of the American Statistical Association 47(260).
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from histo_index.arrays import Int64
from histo_index.errors import InputError
from histo_index.indexer.reader import OpenIndex
from histo_index.search.inputs.labelled_pairs import LabelledPairs
from histo_index.search.inputs.labels import has_own_groups, own_groups
from histo_index.search.marks.collect import Collected, collect
from histo_index.search.marks.file import read_marks
from histo_index.search.marks.record import RANDOM, SAME, PairMark
from histo_index.wording import counted

_NAME = "the marks"


def marked_pairs(
    index: OpenIndex, *, group: str | None = None, only_random: bool = False
) -> LabelledPairs:
    """Read the marked pairs of an index, and the labels of its tiles as classes.

    Args:
        index: the index.
        group: column of patient or slide ids; default `group`.
        only_random: leave out pairs that were proposed because they are near the threshold, and
            labels, whose tiles somebody selected.

    Raises:
        InputError: no pair is marked, or all of them are of one kind.
    """
    found = collect(read_marks(index.folder))
    marks = [mark for mark in found.agreed() if mark.drawn == RANDOM or not only_random]
    kept, ends = usable_marks(index, marks)
    _require_both_kinds(kept)
    labels = {} if only_random else _labels_by_row(index, found)
    rows = np.unique(np.concatenate([ends.ravel(), np.array(list(labels), np.int64)]))
    classes = sorted(set(labels.values()))
    codes = {label: code for code, label in enumerate(classes)}
    left, right = (np.searchsorted(rows, side) for side in ends.T)
    names, groups = np.unique(
        np.asarray(own_groups(index, rows, group), object).astype(str), return_inverse=True
    )
    weights = 1 / np.array([mark.selection for mark in kept])
    return LabelledPairs(
        rows=rows,
        names=index.rows["image_id"].take(pa.array(rows)).to_pylist(),
        classes=classes,
        labels=np.array([codes[labels[row]] if row in labels else -1 for row in rows.tolist()]),
        group_names=names.tolist(),
        groups=groups.astype(np.int64),
        left=left,
        right=right,
        is_same=np.array([mark.answer == SAME for mark in kept]),
        pairs_from="random marks" if only_random else "marks",
        labels_from="labels of the marks" if labels else None,
        has_groups=has_own_groups(index, group),
        problems=_problems(found, gone=len(marks) - len(kept)),
        weights=weights / weights.mean(),
    )


def usable_marks(index: OpenIndex, marks: Sequence[PairMark]) -> tuple[list[PairMark], Int64]:
    """Select the marks whose tiles are both in an index.

    Args:
        index: the index.
        marks: answers about pairs.

    Returns:
        The marks, P of them, and the rows of their tiles, int64 [P, 2].
    """
    contents = [one for mark in marks for one in (mark.a, mark.b)]
    ends = index.find_contents(pa.array(contents, pa.string())).reshape(-1, 2)
    is_usable = (ends >= 0).all(axis=1) & (ends[:, 0] != ends[:, 1])
    kept = [mark for mark, usable in zip(marks, is_usable.tolist(), strict=True) if usable]
    return kept, ends[is_usable]


def _labels_by_row(index: OpenIndex, found: Collected) -> dict[int, str]:
    """Return the label of each tile on which all users agree, by its row."""
    labels = found.agreed_labels()
    rows = index.find_contents(pa.array(list(labels), pa.string())).tolist()
    return {row: label for row, label in zip(rows, labels.values(), strict=True) if row >= 0}


def _problems(found: Collected, *, gone: int) -> list[str]:
    disputed = [
        f"{_NAME}: users disagree about a pair, "
        f"{' and '.join(mark.user or 'somebody' for mark in marks)}; it is left out"
        for marks in found.disagreements()
    ]
    return [*disputed, *[f"{_NAME}: a tile of a pair is no longer in the index"] * gone]


def _require_both_kinds(marks: list[PairMark]) -> None:
    same = sum(mark.answer == SAME for mark in marks)
    if not 0 < same < len(marks):
        raise InputError(
            f"{_NAME}: {counted(same, 'same pair')} and {len(marks) - same} different; "
            "expected both kinds: mark more on the page of `histo-index serve`"
        )
