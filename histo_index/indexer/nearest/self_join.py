"""Find near pairs among many short vectors, in nearly linear time.

The vectors are sorted into lists by k-means, and each is compared with those of a few lists. Pairs
that lie very close to each other are in one list or in neighbouring ones.
"""

from collections.abc import Callable
from typing import Final

import numpy as np

from histo_index.arrays import Float32, Int64
from histo_index.indexer.nearest.exact import ask, search_parameters
from histo_index.indexer.nearest.faiss_index import make_candidates

# Vectors in a list. Fewer cost more lists, more cost longer ones.
_LIST_ROWS: Final = 200
_MOST_LISTS: Final = 4096
# Training vectors of a list.
_TRAINING_ROWS: Final = 40
# Lists that each vector is compared with. Two find every pair that is as near as copies without
# their files must be (100,000 vectors in 2,000 clusters), at half the time.
LISTS: Final = 6
FEW_LISTS: Final = 2
# Queries at a time, between two calls of `progress`.
_BLOCK: Final = 8192

# Called with how many vectors are done.
Report = Callable[[int], None]


def nearest_others(
    vectors: Float32,
    neighbours: int,
    *,
    limit: float,
    searched: int = LISTS,
    report: Report = lambda _: None,
) -> tuple[Int64, Int64]:
    """Pair each vector with its nearest others within a distance.

    Args:
        vectors: float32 [N, d], short ones: some dozens of dimensions.
        neighbours: the most others of each vector.
        limit: squared distance up to which two vectors are paired.
        searched: lists that each vector is compared with.
        report: called after each block.

    Returns:
        int64 [P] twice, the smaller row first: each pair once, sorted.
    """
    count = len(vectors)
    if count < 2:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    lists = max(1, min(count // _LIST_ROWS, _MOST_LISTS))
    factory = f"IVF{lists},Flat" if lists > 1 else "Flat"
    drawn = np.random.default_rng(0).permutation(count)[: _TRAINING_ROWS * lists]
    sample = vectors[np.sort(drawn)].astype(np.float16)
    halves = (
        vectors[start : start + _BLOCK].astype(np.float16) for start in range(0, count, _BLOCK)
    )
    ivf = make_candidates(factory, sample, halves, size=vectors.shape[1])
    parameters = search_parameters(ivf, searched)
    wanted = min(neighbours + 1, count)
    codes = []
    for start in range(0, count, _BLOCK):
        found = ask(ivf, vectors[start : start + _BLOCK], wanted, parameters)
        rows = np.repeat(np.arange(start, start + len(found)), wanted)
        others = found.ravel()
        is_pair = (others >= 0) & (others != rows)
        rows, others = rows[is_pair], others[is_pair]
        gaps = vectors[rows] - vectors[others]
        is_near = np.einsum("pd,pd->p", gaps, gaps) <= limit
        low, high = np.minimum(rows, others)[is_near], np.maximum(rows, others)[is_near]
        codes.append(low * count + high)
        report(min(start + _BLOCK, count))
    pairs = np.unique(np.concatenate(codes))
    return pairs // count, pairs % count
