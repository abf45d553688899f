"""Distances from labelled tiles to those of other groups, as a tile of a new group would find them.

A transform of distances is fitted on the tiles of an index, so that these lie better in it than a
new tile does. Groups are therefore held out of the transform too.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np

from histo_index.arrays import Float32, Floats, Int64
from histo_index.indexer.embeddings import read_embeddings
from histo_index.indexer.reader import OpenIndex
from histo_index.indexer.transform.diffusion import fit_diffusion
from histo_index.indexer.transform.transform import FEWEST_TILES, distinct
from histo_index.progress import track
from histo_index.search.classification.kernel import Gallery
from histo_index.search.inputs.labels import own_groups

FOLDS: Final = 5
# In a larger index one tile in twenty is a landmark of the transform: holding out changes nothing.
_MOST_REFITTED: Final = 20_000
# As many tiles as a transform is fitted on.
_MOST_FITTED: Final = 5_000


def held_out_distances(
    index: OpenIndex, rows: Int64, gallery: Gallery, queries: Int64, *, names: list[str]
) -> Float32:
    """Compute squared distances from some labelled tiles to all of other groups.

    Args:
        index: holds the tiles.
        rows: int64 [L], the labelled tiles.
        gallery: their classes and groups.
        queries: int64 [Q], positions of the queries among them.
        names: name of each group.

    Returns:
        float32 [Q, L]; infinite between tiles of one group, and where the other tile was held out
        of the transform together with the query.
    """
    found = np.full((len(queries), len(rows)), np.inf, np.float32)
    groups = gallery.groups
    if index.transform is None or len(index) > _MOST_REFITTED:
        vectors = index.vectors(rows)
        found[:] = squared_distances(vectors[queries], vectors)
    else:
        folds = split_groups(groups, gallery.classes)
        for fold, turned in _refitted(index, rows, groups, folds, names):
            is_own = folds[queries] == fold
            others = np.flatnonzero(folds != fold)
            gaps = squared_distances(turned[queries[is_own]], turned[others])
            found[np.ix_(np.flatnonzero(is_own), others)] = gaps
    found[groups[queries][:, None] == groups] = np.inf
    return found


def squared_distances(left: Floats, right: Floats) -> Float32:
    """Compute squared distances between unit vectors, floats [n, D] and [m, D]: float32 [n, m]."""
    gaps: Float32 = 2 - 2 * (left.astype(np.float32) @ right.astype(np.float32).T)
    np.maximum(gaps, 0, out=gaps)
    return gaps


def split_groups(groups: Int64, classes: Int64, *, folds: int = FOLDS) -> Int64:
    """Split groups into folds, those of a rare class into different ones.

    Args:
        groups: int64 [n], of each tile.
        classes: int64 [n].
        folds: how many.

    Returns:
        int64 [n], the fold of each tile.
    """
    _, codes = np.unique(groups, return_inverse=True)
    cells = np.unique(np.stack([classes, codes]), axis=1)
    sizes = np.bincount(cells[0])[cells[0]]
    # The rarest class of each group, by which groups are dealt out in turn.
    order = np.lexsort((cells[0], sizes, cells[1]))
    first = order[np.unique(cells[1][order], return_index=True)[1]]
    shuffled = np.random.default_rng(0).permutation(len(first))
    dealt = np.lexsort((shuffled, cells[0][first], sizes[first]))
    of_group = np.empty(len(first), np.int64)
    of_group[dealt] = np.arange(len(first)) % folds
    split: Int64 = of_group[codes]
    return split


def _refitted(
    index: OpenIndex, rows: Int64, groups: Int64, folds: Int64, names: list[str]
) -> Iterator[tuple[int, Float32]]:
    """Fit the transform without the groups of each fold; yield the fold and vectors [L, V]."""
    embeddings = read_embeddings(index, rows)
    live = index.live_rows()
    count = min(len(live), _MOST_FITTED)
    sample = np.sort(np.random.default_rng(0).choice(live, count, replace=False))
    sampled = read_embeddings(index, sample)
    of_sample = _sample_groups(index, sample, rows, groups, names)
    for fold in track(range(int(folds.max()) + 1), "fitting without groups", unit="folds"):
        held = {names[code] for code in np.unique(groups[folds == fold]).tolist()}
        is_kept = np.array([name not in held for name in of_sample])
        if is_kept.sum() < FEWEST_TILES:
            is_kept[:] = True
        yield fold, fit_diffusion(distinct(sampled[is_kept])).apply(embeddings)


def _sample_groups(
    index: OpenIndex, sample: Int64, rows: Int64, groups: Int64, names: list[str]
) -> list[str]:
    """Return the group of each tile of a sample; a tile without a label may be of one too."""
    known = {row: names[code] for row, code in zip(rows.tolist(), groups.tolist(), strict=True)}
    others = own_groups(index, sample)
    return [known.get(row, other) for row, other in zip(sample.tolist(), others, strict=True)]
