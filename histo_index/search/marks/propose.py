"""Which pairs people are asked about: a third at random, the others on both sides of the threshold.

A pair that is marked is not drawn again. Instead, some answers of others are repeated, if asked.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa

from histo_index.arrays import Float32, Int64
from histo_index.errors import InputError
from histo_index.indexer.reader import OpenIndex
from histo_index.search.calibration.threshold import Threshold
from histo_index.search.distance import indexed_pair_distances
from histo_index.search.inputs.labels import own_groups
from histo_index.search.marks.record import NEAR, RANDOM, REPEAT, PairMark

# Random pairs across groups among which those near the threshold are found.
_DRAWN: Final = 4_000
# Share of proposals that are random, and of pairs that count as near the threshold on each side.
_RANDOM_SHARE: Final = 1 / 3
_BAND: Final = 0.05
# Share of proposals that repeat what another user answered, so that disagreement is measured.
REPEATED_SHARE: Final = 1 / 5


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A pair to be marked.

    Attributes:
        left: row of one tile.
        right: row of the other.
        distance: of the two.
        drawn: `random`, `near` or `repeat`.
        selection: how likely it was to be proposed, relative to a random pair across groups that
            is not marked; of a repeat, that of the first answer.
    """

    left: int
    right: int
    distance: float
    drawn: str
    selection: float


@dataclass(frozen=True, kw_only=True)
class _Pool:
    """Pairs that may be proposed.

    Attributes:
        pairs: rows, int64 [2, P].
        keys: int64 [P], equal for pairs of the same contents.
        distances: float32 [P].
    """

    pairs: Int64
    keys: Int64
    distances: Float32

    def without(self, key: int) -> "_Pool":
        kept = self.keys != key
        return replace(
            self, pairs=self.pairs[:, kept], keys=self.keys[kept], distances=self.distances[kept]
        )


def propose(
    index: OpenIndex,
    threshold: Threshold,
    generator: np.random.Generator,
    count: int,
    *,
    group: str | None = None,
    excluded: Collection[tuple[str, str]] = (),
) -> list[Proposal]:
    """Draw pairs across groups to be marked, each once.

    Near the threshold are, on each side of it, the nearest twentieth of all pairs; without a
    threshold, near the median. A proposal is any pair with probability 1/3, else one of a side.
    Both sides are as likely: where few pairs are the same, those near the threshold are mostly
    different, and a calibration needs both.

    Args:
        index: the index.
        threshold: in use.
        generator: draws.
        count: how many; fewer are returned if fewer are left.
        group: column of patient or slide ids; default `group`.
        excluded: SHA-256 of both tiles of pairs that are not drawn.

    Raises:
        InputError: all tiles are of one group, or no pair is left.
    """
    pool = _draw_pool(index, generator, group, excluded)
    if not len(pool.keys):
        raise InputError("every pair across groups is marked or shown; there is none left to ask")
    limit = float(np.median(pool.distances)) if threshold.value is None else threshold.value
    found: list[Proposal] = []
    while len(found) < count and len(pool.keys):
        chosen, proposal = _choose(pool, limit, generator)
        found.append(proposal)
        pool = pool.without(int(pool.keys[chosen]))
    return found


def repeat(
    index: OpenIndex, answers: Sequence[PairMark], generator: np.random.Generator, count: int
) -> list[Proposal]:
    """Draw answered pairs to be asked again, each once; those no longer in the index are left out.

    Args:
        index: the index.
        answers: of other users.
        generator: draws.
        count: how many; fewer are returned if there are fewer.
    """
    chosen = [answers[one] for one in generator.permutation(len(answers))[:count].tolist()]
    contents = [one for mark in chosen for one in (mark.a, mark.b)]
    pairs = index.find_contents(pa.array(contents, pa.string())).reshape(-1, 2).T
    there = np.flatnonzero((pairs >= 0).all(axis=0))
    distances = _distances(index, pairs[:, there])
    return [
        Proposal(
            left=int(pairs[0, one]), right=int(pairs[1, one]), distance=float(distance),
            drawn=REPEAT, selection=chosen[one].selection,
        )
        for one, distance in zip(there.tolist(), distances, strict=True)
    ]  # fmt: skip


def _choose(pool: _Pool, limit: float, generator: np.random.Generator) -> tuple[int, Proposal]:
    sides = _sides(pool.distances, limit)
    is_random = generator.random() < _RANDOM_SHARE
    side = sides[int(generator.integers(len(sides)))]
    chosen = int(generator.choice(len(pool.keys) if is_random else side))
    left, right = pool.pairs[:, chosen].tolist()
    near = sum(len(pool.keys) / len(side) for side in sides if chosen in side) / len(sides)
    return chosen, Proposal(
        left=left, right=right, distance=float(pool.distances[chosen]),
        drawn=RANDOM if is_random else NEAR,
        selection=_RANDOM_SHARE + (1 - _RANDOM_SHARE) * near,
    )  # fmt: skip


def _sides(distances: Float32, limit: float) -> list[Int64]:
    """Find the pairs near a threshold below and above it; a side without pairs is left out."""
    gaps = np.abs(distances - limit)
    most = max(1, round(_BAND * len(gaps)))
    sides = (np.flatnonzero(distances <= limit), np.flatnonzero(distances > limit))
    return [side[np.argsort(gaps[side], kind="stable")[:most]] for side in sides if len(side)]


def _draw_pool(
    index: OpenIndex,
    generator: np.random.Generator,
    group: str | None,
    excluded: Collection[tuple[str, str]],
) -> _Pool:
    """Draw pairs of tiles of two groups and of two contents."""
    live = index.live_rows()
    pairs = generator.choice(live, (2, 2 * _DRAWN))
    rows = np.unique(pairs)
    groups = np.asarray(own_groups(index, rows, group), object).astype(str)
    codes = np.unique(groups, return_inverse=True)[1][np.searchsorted(rows, pairs)]
    pairs = pairs[:, codes[0] != codes[1]]
    if not pairs.shape[1]:
        raise InputError("all tiles are of one group, so no pair across groups can be proposed")
    known = index.rows["sha256"].take(pa.array(rows)).to_pylist()
    contents = np.unique(known + [one for pair in excluded for one in pair], return_inverse=True)[1]
    ends = contents[np.searchsorted(rows, pairs)]
    keys = _keys(ends)
    is_open = (ends[0] != ends[1]) & ~np.isin(keys, _keys(contents[len(known) :].reshape(-1, 2).T))
    kept = np.flatnonzero(is_open)[:_DRAWN]
    return _Pool(pairs=pairs[:, kept], keys=keys[kept], distances=_distances(index, pairs[:, kept]))


def _keys(ends: Int64) -> Int64:
    """Number pairs of contents, int64 [2, P], in either order: int64 [P]."""
    keys: Int64 = (ends.min(axis=0) << 32) + ends.max(axis=0)
    return keys


def _distances(index: OpenIndex, pairs: Int64) -> Float32:
    nothing = np.empty((0, index.manifest.vector_size), np.float16)
    distances: Float32 = indexed_pair_distances(index, nothing, pairs[0], pairs[1])
    return distances
