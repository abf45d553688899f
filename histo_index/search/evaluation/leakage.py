"""Detect leakage: duplicates across groups, and between calibration and evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from histo_index.arrays import Int64
from histo_index.search.distance import pair_distances
from histo_index.search.retrieval_metrics import Ranking, rank_others

# How many are listed by name.
MOST_LISTED: Final = 50


@dataclass(frozen=True, kw_only=True)
class DuplicatePair:
    """Two tiles with the same content, or nearly.

    Attributes:
        tile_a: index among the T tiles evaluated.
        tile_b: index of the other.
        kind: `identical` (the same file content) or `nearly identical` (by distance).
        distance: squared distance, 0…4.
    """

    tile_a: int
    tile_b: int
    kind: str
    distance: float


@dataclass(frozen=True, kw_only=True)
class Leakage:
    """Duplicates found across groups, and between calibration and evaluation.

    Attributes:
        identical: pairs of tiles of different groups with the same content.
        near: further such pairs whose distance is at most `limit`.
        limit: squared distance up to which two tiles are near-duplicates.
        listed: up to MOST_LISTED of them, nearest first.
        shared_tiles: tiles evaluated on that the calibration was fitted on; None if there is no
            calibration, or it stores no contents.
        calibration_duplicates: further tiles evaluated on that are, or nearly are, one of those.
    """

    identical: int
    near: int
    limit: float
    listed: tuple[DuplicatePair, ...]
    shared_tiles: int | None = None
    calibration_duplicates: int = 0

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found."""
        return not (self.identical or self.near or self.shared_tiles or self.calibration_duplicates)

    def as_dict(self, names: Sequence[str]) -> dict[str, Any]:
        """Return plain values for JSON."""
        duplicates = [
            {
                "tile_a": names[pair.tile_a],
                "tile_b": names[pair.tile_b],
                "kind": pair.kind,
                "distance": pair.distance,
            }
            for pair in self.listed
        ]
        return {**self.__dict__, "listed": duplicates, "is_clean": self.is_clean}


def find_leakage(
    vectors: npt.NDArray[np.float16],
    digests: Sequence[str],
    groups: Int64,
    *,
    ranking: Ranking,
    limit: float,
    fitted_on: Int64 | None = None,
) -> Leakage:
    """Find duplicates across groups, and between calibration and evaluation.

    Args:
        vectors: float16 [T, D] of the tiles evaluated, rows of length 1.
        digests: SHA-256 of each tile's file, [T].
        groups: int64 [T].
        ranking: the nearest tiles of other groups.
        limit: squared distance up to which two tiles are nearly identical; see `near_limit`.
        fitted_on: indices of the tiles that the calibration was fitted on; None if unknown.
    """
    left = np.repeat(ranking.queries, ranking.neighbours.shape[1])
    right = ranking.neighbours.ravel()
    is_there = right >= 0
    pairs = np.unique(np.sort(np.stack([left[is_there], right[is_there]]), axis=0), axis=1)
    distances = pair_distances(vectors[pairs[0]], vectors[pairs[1]])
    hashes = np.unique(np.asarray(digests), return_inverse=True)[1]
    is_one = hashes[pairs[0]] == hashes[pairs[1]]
    is_near = (distances <= limit) & ~is_one
    order = np.argsort(distances, kind="stable")
    listed = [position for position in order.tolist() if is_one[position] or is_near[position]]
    shared, duplicates = _across_calibration(vectors, hashes, fitted_on, limit)
    return Leakage(
        identical=int(is_one.sum()),
        near=int(is_near.sum()),
        limit=limit,
        listed=tuple(
            DuplicatePair(
                tile_a=int(pairs[0, position]),
                tile_b=int(pairs[1, position]),
                kind="identical" if is_one[position] else "nearly identical",
                distance=float(distances[position]),
            )
            for position in listed[:MOST_LISTED]
        ),
        shared_tiles=shared,
        calibration_duplicates=duplicates,
    )


def _across_calibration(
    vectors: npt.NDArray[np.float16], hashes: Int64, fitted_on: Int64 | None, limit: float
) -> tuple[int | None, int]:
    """Count tiles that the calibration was fitted on, and near-duplicates of these."""
    if fitted_on is None:
        return None, 0
    is_fitted = np.zeros(len(vectors), bool)
    is_fitted[fitted_on] = True
    others = np.flatnonzero(~is_fitted)
    if not len(others) or not len(fitted_on):
        return len(fitted_on), 0
    # With two groups, fitted and not, the nearest of the other group is the nearest fitted one.
    nearest = rank_others(vectors, is_fitted.astype(np.int64), others, k=1).neighbours[:, 0]
    distances = pair_distances(vectors[others], vectors[nearest])
    is_duplicate = (distances <= limit) | np.isin(hashes[others], hashes[fitted_on])
    return len(fitted_on), int(is_duplicate.sum())
