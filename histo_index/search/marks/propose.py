"""Which pairs people are asked about: one third at random, the others near the threshold."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from histo_index.arrays import Float32, Int64
from histo_index.errors import InputError
from histo_index.indexer.reader import OpenIndex
from histo_index.search.calibration.threshold import Threshold
from histo_index.search.distance import indexed_pair_distances
from histo_index.search.inputs.labels import own_groups
from histo_index.search.marks.record import NEAR, RANDOM

# Random pairs across groups among which those near the threshold are found.
_DRAWN: Final = 4_000
# Share of proposals that are random, and of pairs that count as near the threshold.
_RANDOM_SHARE: Final = 1 / 3
_BAND: Final = 0.1


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A pair to be marked.

    Attributes:
        left: row of one tile.
        right: row of the other.
        distance: of the two.
        drawn: `random` or `near`.
        selection: how likely it was to be proposed, relative to a random pair across groups.
    """

    left: int
    right: int
    distance: float
    drawn: str
    selection: float


def propose(
    index: OpenIndex,
    threshold: Threshold,
    generator: np.random.Generator,
    count: int,
    *,
    group: str | None = None,
) -> list[Proposal]:
    """Draw pairs across groups to be marked.

    A tenth of all pairs counts as near the threshold; without a threshold, near the median. Each
    proposal is of those with probability 2/3, and any pair otherwise.

    Args:
        index: the index.
        threshold: in use.
        generator: draws.
        count: how many.
        group: column of patient or slide ids; default `group`.

    Raises:
        InputError: all tiles are of one group.
    """
    pairs = _draw_pairs(index, generator, group)
    nothing = np.empty((0, index.manifest.vector_size), np.float16)
    distances = indexed_pair_distances(index, nothing, pairs[0], pairs[1])
    limit = float(np.median(distances)) if threshold.value is None else threshold.value
    gaps = np.abs(distances - limit)
    is_near = gaps <= np.quantile(gaps, _BAND)
    share, near = float(is_near.mean()), np.flatnonzero(is_near)
    found = []
    for _ in range(count):
        is_random = generator.random() < _RANDOM_SHARE
        chosen = int(generator.integers(len(distances)) if is_random else generator.choice(near))
        found.append(_proposal(pairs, distances, chosen, is_near=bool(is_near[chosen]), share=share,
                               drawn=RANDOM if is_random else NEAR))  # fmt: skip
    return found


def _proposal(
    pairs: Int64, distances: Float32, chosen: int, *, is_near: bool, share: float, drawn: str
) -> Proposal:
    selection = _RANDOM_SHARE + (1 - _RANDOM_SHARE) / share * is_near
    left, right = pairs[:, chosen].tolist()
    return Proposal(
        left=left, right=right, distance=float(distances[chosen]), drawn=drawn, selection=selection
    )


def _draw_pairs(index: OpenIndex, generator: np.random.Generator, group: str | None) -> Int64:
    """Draw pairs of tiles of two groups: rows, int64 [2, P]."""
    live = index.live_rows()
    pairs = generator.choice(live, (2, 2 * _DRAWN))
    rows = np.unique(pairs)
    groups = np.asarray(own_groups(index, rows, group), object).astype(str)
    codes = np.unique(groups, return_inverse=True)[1][np.searchsorted(rows, pairs)]
    across = pairs[:, codes[0] != codes[1]][:, :_DRAWN]
    if not across.shape[1]:
        raise InputError("all tiles are of one group, so no pair across groups can be proposed")
    return across
