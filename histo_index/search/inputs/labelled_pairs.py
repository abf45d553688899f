"""Labelled pairs: tiles with classes and groups, and pairs of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from histo_index.arrays import Bools, Float64, Int64
from histo_index.errors import InputError
from histo_index.indexer.reader import OpenIndex
from histo_index.search.inputs.labels import Labels, has_own_groups, own_groups
from histo_index.search.inputs.pair_list import PairList
from histo_index.search.inputs.row_pairs import draw_pairs, find_usable_pairs
from histo_index.search.inputs.sample import Sample, weigh_groups_alike

_UNKNOWN: Final = -1


@dataclass(frozen=True, kw_only=True)
class LabelledPairs:
    """Tiles, their classes and groups, and labelled pairs of them.

    Attributes:
        rows: int64 [T], row of each tile in the index, each once.
        names: image id of each, [T].
        classes: names of the classes, [C].
        labels: int64 [T], class of each tile, or -1 where it is not known.
        group_names: names of the groups, [G].
        groups: int64 [T].
        left: int64 [P], index of the first tile of each pair among the T.
        right: int64 [P], of the second.
        is_same: bool [P].
        pairs_from: where the pairs come from.
        labels_from: where classes and groups come from; None without classes.
        has_groups: whether groups were given.
        problems: what could not be used, one line each.
        label_column: column of the index that the classes come from; None if from elsewhere.
        group_column: column of the index that the groups come from; None if from elsewhere.
        file_group: column of the label file that they come from; None if from elsewhere.
        weights: float64 [P], how much each pair counts; see `Sample`. None: all alike.
    """

    rows: Int64
    names: list[str]
    classes: list[str]
    labels: Int64
    group_names: list[str]
    groups: Int64
    left: Int64
    right: Int64
    is_same: Bools
    pairs_from: str
    labels_from: str | None
    has_groups: bool
    problems: list[str]
    label_column: str | None = None
    group_column: str | None = None
    file_group: str | None = None
    weights: Float64 | None = None

    def sample(self, distances: npt.NDArray[np.floating], prior: float | None = None) -> Sample:
        """Combine the pairs with their distances; units are groups, which may be single tiles.

        Args:
            distances: squared distances [P].
            prior: share of same pairs in use; None is their share here.
        """
        return Sample(
            distances=distances.astype(np.float64),
            is_same=self.is_same,
            units_a=self.groups[self.left],
            units_b=self.groups[self.right],
            prior=self._share() if prior is None else prior,
            weights=self.weights,
        )

    def _share(self) -> float:
        """Return the share of same pairs, 0…1."""
        return float(np.average(self.is_same, weights=self.weights))

    def subsample(self, max_tiles: int) -> "LabelledPairs":
        """Draw a random subsample of at most n tiles, half of them as whole pairs."""
        return self.subset(self._draw_tiles(max_tiles))

    def _draw_tiles(self, max_tiles: int) -> Int64:
        """Draw tiles: int64 [n], rising."""
        count = len(self.rows)
        if count <= max_tiles:
            return np.arange(count)
        generator = np.random.default_rng(0)
        order = generator.permutation(len(self.left))
        ends = np.stack([self.left[order], self.right[order]], axis=1).ravel()
        paired = ends[np.sort(np.unique(ends, return_index=True)[1])]
        # Whole pairs first, then other tiles.
        chosen = np.concatenate([paired[: max_tiles // 2], generator.permutation(count)])
        return np.sort(chosen[np.sort(np.unique(chosen, return_index=True)[1])][:max_tiles])

    def subset(self, chosen: Int64) -> "LabelledPairs":
        """Keep the tiles at positions int64 [n], rising, and the pairs among them."""
        is_kept = np.isin(self.left, chosen) & np.isin(self.right, chosen)
        return replace(
            self,
            rows=self.rows[chosen],
            names=[self.names[tile] for tile in chosen.tolist()],
            labels=self.labels[chosen],
            groups=self.groups[chosen],
            left=np.searchsorted(chosen, self.left[is_kept]),
            right=np.searchsorted(chosen, self.right[is_kept]),
            is_same=self.is_same[is_kept],
            weights=None if self.weights is None else self.weights[is_kept],
        )

    @property
    def labelled(self) -> Int64:
        """Positions of the tiles whose class is known: int64 [n]."""
        return np.flatnonzero(self.labels >= 0)


def make_labelled_pairs(
    index: OpenIndex,
    labels: Labels | None,
    pairs: PairList | None,
    *,
    pairs_name: str = "",
    group: str | None = None,
    seed: int = 0,
) -> LabelledPairs:
    """Combine labels and pairs.

    Args:
        index: holds the tiles.
        labels: classes; None without classes.
        pairs: labelled pairs; None draws them from the classes, across groups.
        pairs_name: what to call the pair list in messages.
        group: column of the index that groups the tiles of pairs without a class.
        seed: of drawing pairs.

    Raises:
        InputError: not one pair can be used, or all of them are of one kind.
    """
    problems = list(labels.problems) if labels else []
    left = right = np.empty(0, np.int64)
    is_same = np.empty(0, bool)
    if pairs is not None:
        left, right, is_same = find_usable_pairs(index, pairs, pairs_name, problems)
    known = labels.rows if labels else np.empty(0, np.int64)
    rows = np.unique(np.concatenate([known, left, right]))
    classes, codes = _classes_of(labels, rows)
    group_names, groups = _groups_of(index, labels, rows, group)
    left, right = np.searchsorted(rows, left), np.searchsorted(rows, right)
    origin, weights = pairs_name, None
    if pairs is None:
        assert labels is not None
        left, right, is_same = draw_pairs(codes, groups, seed=seed)
        if not len(left):
            raise InputError(
                f"{labels.source}: no class has tiles in two groups ({labels.group_from}), so no "
                "same pair can be drawn; label more groups, or pass another --group"
            )
        origin = f"drawn from {labels.source}, across groups, half of them same"
        weights = weigh_groups_alike(groups[codes >= 0], groups[left], groups[right], is_same)
    return LabelledPairs(
        rows=rows,
        names=index.rows["image_id"].take(pa.array(rows)).to_pylist(),
        classes=classes,
        labels=codes,
        group_names=group_names,
        groups=groups,
        left=left,
        right=right,
        is_same=is_same,
        pairs_from=origin,
        labels_from=f"{labels.source}; groups: {labels.group_from}" if labels else None,
        has_groups=labels.has_groups if labels else has_own_groups(index, group),
        problems=problems,
        label_column=labels.label_column if labels else None,
        group_column=labels.group_column if labels else None,
        file_group=labels.file_group if labels else None,
        weights=weights,
    )


def _classes_of(labels: Labels | None, rows: Int64) -> tuple[list[str], Int64]:
    codes = np.full(len(rows), _UNKNOWN, np.int64)
    if labels is None:
        return [], codes
    names, found = np.unique(np.asarray(labels.labels, object).astype(str), return_inverse=True)
    codes[np.searchsorted(rows, labels.rows)] = found
    return names.tolist(), codes


def _groups_of(
    index: OpenIndex, labels: Labels | None, rows: Int64, group: str | None
) -> tuple[list[str], Int64]:
    known: dict[int, str] = {}
    if labels is not None:
        known = dict(zip(labels.rows.tolist(), labels.groups, strict=True))
    others = np.array([row for row in rows.tolist() if row not in known], np.int64)
    if len(others):
        # The column may be in the label file only: then tiles without a class have no group.
        is_asked = labels is None or group in (*index.rows.column_names, *index.hidden)
        asked = group if is_asked else None
        known |= dict(zip(others.tolist(), own_groups(index, others, asked), strict=True))
    texts: Sequence[str] = [known[row] for row in rows.tolist()]
    names, codes = np.unique(np.asarray(texts, object).astype(str), return_inverse=True)
    return names.tolist(), codes.astype(np.int64)
