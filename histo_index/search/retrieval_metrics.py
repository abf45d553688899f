"""Retrieval metrics: rank the tiles of other groups and compare their classes."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from histo_index.arrays import Float64, Int64

# Neighbours of each query: the largest k of the metrics below.
DEPTH: Final = 10
RETRIEVAL_METRICS: Final = (
    "accuracy@1", "vote@3", "vote@5", "vote@10", "map@5", "map@10", "recall@5", "recall@10"
)  # fmt: skip
# Query and gallery tiles at a time: a block of 512 × 16,384 float32 distances is 34 MB.
_QUERIES: Final = 512
_GALLERY: Final = 16_384
_NOBODY: Final = -1


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """The nearest tiles of other groups.

    Attributes:
        queries: int64 [Q], indices of the queries among the T tiles.
        neighbours: int64 [Q, K], indices of their neighbours, nearest first; -1 where there are no
            more tiles outside the query's group.
        distances: float32 [Q, K], squared distances; infinite where there is no neighbour.
    """

    queries: Int64
    neighbours: Int64
    distances: npt.NDArray[np.float32]


def rank_others(
    vectors: npt.NDArray[np.floating], groups: Int64, queries: Int64, *, k: int = DEPTH
) -> Ranking:
    """Find the nearest tiles of each query outside its own group, exactly.

    Args:
        vectors: floats [T, D], rows of length 1.
        groups: int64 [T], what must not be matched with itself.
        queries: int64 [Q], indices of the queries.
        k: neighbours of each.

    Returns:
        The ranking; equal distances in the order of the tiles.
    """
    parts = [queries[start : start + _QUERIES] for start in range(0, len(queries), _QUERIES)]
    found = [_rank_part(vectors, groups, part, k) for part in parts]
    empty = np.empty((0, k))
    neighbours, distances = zip(*found, strict=True) if found else ([empty], [empty])
    return Ranking(
        queries=queries,
        neighbours=np.concatenate(neighbours).astype(np.int64),
        distances=np.concatenate(distances).astype(np.float32),
    )


def _rank_part(
    vectors: npt.NDArray[np.floating], groups: Int64, queries: Int64, k: int
) -> tuple[Int64, npt.NDArray[np.float32]]:
    left = vectors[queries].astype(np.float32)
    best = np.full((len(queries), k), np.inf, np.float32)
    neighbours = np.full((len(queries), k), _NOBODY, np.int64)
    for start in range(0, len(vectors), _GALLERY):
        block = vectors[start : start + _GALLERY].astype(np.float32)
        # Kept above zero: the product form rounds, and near-copies come out slightly negative.
        distances = np.maximum(2 - 2 * (left @ block.T), 0)
        is_own = groups[queries][:, None] == groups[None, start : start + len(block)]
        distances[is_own] = np.inf
        columns = np.broadcast_to(np.arange(start, start + len(block)), distances.shape)
        both = np.concatenate([best, distances], axis=1)
        order = _first(both, k)
        best = np.take_along_axis(both, order, 1)
        neighbours = np.take_along_axis(np.concatenate([neighbours, columns], axis=1), order, 1)
    return np.where(np.isfinite(best), neighbours, _NOBODY), best


def _first(distances: npt.NDArray[np.float32], k: int) -> Int64:
    """Find the columns of the k smallest in each row, int64 [Q, k], smallest first."""
    few = np.argpartition(distances, min(k, distances.shape[1] - 1), axis=1)[:, : k + 1]
    # Sorted by column first: among equal distances the earlier tile comes first.
    few.sort(axis=1)
    order = np.argsort(np.take_along_axis(distances, few, 1), axis=1, kind="stable")
    neighbours: Int64 = np.take_along_axis(few, order, 1)[:, :k]
    return neighbours


def answerable(labels: Int64, groups: Int64, queries: Int64) -> npt.NDArray[np.bool_]:
    """Flag queries with a tile of their class in another group, bool [Q]."""
    return _relevant(labels, groups, queries) > 0


def _relevant(labels: Int64, groups: Int64, queries: Int64) -> Int64:
    """Count the tiles of each query's class outside its group, int64 [Q]."""
    of_class = np.bincount(labels)
    cells, inverse, counts = np.unique(
        np.stack([labels, groups]), axis=1, return_inverse=True, return_counts=True
    )
    assert cells.shape[0] == 2
    return (of_class[labels] - counts[inverse.ravel()])[queries]


def retrieval_values(ranking: Ranking, labels: Int64, groups: Int64) -> Float64:
    """Compute every metric of RETRIEVAL_METRICS for each query.

    Args:
        ranking: of at least DEPTH neighbours a query.
        labels: int64 [T], class of each tile.
        groups: int64 [T], as the ranking was made with.

    Returns:
        float64 [Q, len(RETRIEVAL_METRICS)], each 0…1, larger is better.

    Sources: Kalra et al. (2020), Yottixel, Medical Image Analysis 65 (majority vote of k);
    Weyand et al. (2020), Google Landmarks v2 (mAP@k); Jégou et al. (2011) (recall@k).
    """
    own = labels[ranking.queries]
    others = np.where(ranking.neighbours >= 0, labels[ranking.neighbours], _NOBODY)
    is_right = others == own[:, None]
    relevant = _relevant(labels, groups, ranking.queries)
    columns = {
        "accuracy@1": is_right[:, 0],
        **{f"vote@{k}": majority_votes(others[:, :k]) == own for k in (3, 5, 10)},
        **{f"map@{k}": average_precisions(is_right[:, :k], relevant) for k in (5, 10)},
        **{f"recall@{k}": is_right[:, :k].any(axis=1) for k in (5, 10)},
    }
    return np.stack([columns[name].astype(np.float64) for name in RETRIEVAL_METRICS], axis=1)


def majority_votes(labels: Int64) -> Int64:
    """Compute the majority of neighbours [Q, K], nearest first; a tie goes to the nearest vote."""
    votes = (labels[:, :, None] == labels[:, None, :]).sum(axis=2)
    votes[labels == _NOBODY] = 0
    # argmax takes the first of equals, which is the nearest.
    winners: Int64 = np.take_along_axis(labels, votes.argmax(axis=1)[:, None], 1)[:, 0]
    return winners


def average_precisions(is_right: npt.NDArray[np.bool_], relevant: Int64) -> Float64:
    """Average the precision at the rank of each right neighbour, float64 [Q], 0…1.

    Args:
        is_right: bool [Q, K], nearest first.
        relevant: int64 [Q], how many tiles could be right; at most K of them count.
    """
    ranks = np.arange(1, is_right.shape[1] + 1)
    precisions = np.cumsum(is_right, axis=1) / ranks
    possible = np.maximum(np.minimum(relevant, is_right.shape[1]), 1)
    means: Float64 = (precisions * is_right).sum(axis=1) / possible
    return means


def micro_and_macro(values: Float64, labels: Int64, weights: Float64) -> tuple[Float64, Float64]:
    """Average over the queries, and over the classes.

    Args:
        values: float64 [Q, M].
        labels: int64 [Q], class of each query.
        weights: float64 [Q].

    Returns:
        float64 [M] each: the mean over queries, and the mean of the classes' means, in which every
        class counts the same; NaN without any weight.
    """
    counts = np.bincount(labels, weights)
    is_there = counts > 0
    if not is_there.any():
        nothing = np.full(values.shape[1], np.nan)
        return nothing, nothing
    sums = np.stack(
        [np.bincount(labels, weights * column) for column in values.T], axis=1
    )  # [C, M]
    return sums.sum(axis=0) / counts.sum(), (sums[is_there] / counts[is_there, None]).mean(axis=0)
