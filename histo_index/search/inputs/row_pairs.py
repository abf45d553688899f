"""Pairs of rows with a label each: drawn from classes, or read from a list."""

from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from histo_index.arrays import Bools, Int64
from histo_index.errors import InputError
from histo_index.indexer.reader import OpenIndex
from histo_index.search.inputs.labels import first_unusable
from histo_index.search.inputs.pair_list import PairList
from histo_index.wording import printable

# Pairs drawn from labels: as many as a few hundred tiles can support.
_MOST_DRAWN: Final = 10_000
_UNKNOWN: Final = -1


def draw_pairs(labels: Int64, groups: Int64, *, seed: int) -> tuple[Int64, Int64, Bools]:
    """Draw as many same as different pairs across groups, the same ones for the same seed.

    Args:
        labels: int64 [T], class of each tile, -1 unknown.
        groups: int64 [T]; a pair is always of two groups.
        seed: of the drawing.

    Returns:
        Positions int64 [P] of both tiles, and whether they are of one class; empty if there is no
        same or no different pair across groups.
    """
    generator = np.random.default_rng(seed)
    known = np.flatnonzero(labels >= 0)
    if len(known) ** 2 > 4_000_000:
        known = np.sort(generator.choice(known, 2_000, replace=False))
    first, second = np.triu_indices(len(known), 1)
    is_across = groups[known[first]] != groups[known[second]]
    first, second = known[first[is_across]], known[second[is_across]]
    is_same = labels[first] == labels[second]
    count = min(int(is_same.sum()), int((~is_same).sum()), _MOST_DRAWN // 2)
    chosen = np.sort(
        np.concatenate(
            [
                generator.choice(np.flatnonzero(kind), count, replace=False)
                for kind in (is_same, ~is_same)
            ]
        ).astype(np.int64)
    )
    return first[chosen], second[chosen], is_same[chosen]


def find_usable_pairs(
    index: OpenIndex, pairs: PairList, name: str, problems: list[str]
) -> tuple[Int64, Int64, Bools]:
    """Find the rows of both tiles of each pair; a pair that cannot be used becomes a problem."""
    before = len(problems)
    if pairs.labels is None:
        raise InputError(f"{name}: no labels in it; expected rows `a.png,b.png,1` or `…,0`")
    left, right = index.find_names(pairs.image_a), index.find_names(pairs.image_b)
    labels = pc.fill_null(pairs.labels, _UNKNOWN).to_numpy(zero_copy_only=False)
    is_usable = (left >= 0) & (right >= 0) & (left != right) & (labels >= 0)
    is_usable[list(pairs.problems)] = False
    for pair in np.flatnonzero(~is_usable).tolist():
        names = (pairs.image_a[pair].as_py(), pairs.image_b[pair].as_py())
        why = pairs.problems.get(pair) or _pair_problem(names, left[pair], right[pair])
        problems.append(f"{name} pair {pair + 1}: {why}")
    _drop_repeated(name, np.stack([left, right]), labels, is_usable, problems)
    is_same = labels[is_usable] == 1
    if not len(is_same):
        raise InputError(f"{name}: not one pair can be used; the first: {problems[before]}")
    if is_same.all() or not is_same.any():
        kind = "same" if is_same[0] else "different"
        raise InputError(
            f"{name}: {kind} pairs only, {len(is_same):,} of them; expected both kinds"
            f"{first_unusable(problems[before:])}"
        )
    return left[is_usable], right[is_usable], is_same


def _drop_repeated(
    name: str, pairs: Int64, labels: npt.NDArray[np.int8], is_usable: Bools, problems: list[str]
) -> None:
    """Keep the first of each pair, in either order; of one with both labels, none at all."""
    usable = np.flatnonzero(is_usable)
    keys = np.unique(np.sort(pairs[:, usable], axis=0), axis=1, return_inverse=True)[1].ravel()
    first: dict[int, int] = {}
    for pair, key in zip(usable.tolist(), keys.tolist(), strict=True):
        earlier = first.setdefault(key, pair)
        if earlier == pair:
            continue
        is_usable[pair] = False
        if labels[pair] != labels[earlier]:
            is_usable[earlier] = False
            problems.append(
                f"{name} pair {pair + 1}: labelled {labels[pair]}, but {labels[earlier]} as pair "
                f"{earlier + 1}; both are left out"
            )


def _pair_problem(names: tuple[str, str], left: int, right: int) -> str:
    for name, row in zip(names, (left, right), strict=True):
        if row < 0:
            return f"{printable(name)[:120]} is not in the index, or names several tiles"
    return "a tile with itself" if left == right else "no label"
