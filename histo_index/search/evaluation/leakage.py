"""Detect leakage: duplicates across groups, and between calibration and evaluation."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from histo_index.arrays import Int64
from histo_index.indexer.reader import OpenIndex
from histo_index.search.copies.copies import find_copies
from histo_index.search.copies.limits import copy_limits
from histo_index.search.copies.tile_files import TileFiles
from histo_index.wording import counted

# How many are listed by name.
MOST_LISTED: Final = 50


@dataclass(frozen=True, kw_only=True)
class DuplicatePair:
    """Two tiles with the same content, or nearly.

    Attributes:
        tile_a: index among the T tiles evaluated.
        tile_b: index of the other.
        kind: `identical` (the same file content) or `nearly identical` (see `find_copies`).
        distance: plain squared distance, 0…4.
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
        near: further such pairs that are copies; see `find_copies`.
        listed: up to MOST_LISTED of them, nearest first.
        shared_tiles: tiles evaluated on that the calibration was fitted on; None if there is no
            calibration, or it stores no contents.
        calibration_duplicates: further tiles evaluated on that are copies of one of those.
    """

    identical: int
    near: int
    listed: tuple[DuplicatePair, ...]
    shared_tiles: int | None = None
    calibration_duplicates: int = 0

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found."""
        return not (self.identical or self.near or self.shared_tiles or self.calibration_duplicates)

    def describe(self) -> str:
        """Count the pairs across groups in words; empty if there are none."""
        kinds = {"identical pair": self.identical, "nearly identical pair": self.near}
        return " and ".join(counted(count, kind) for kind, count in kinds.items() if count)

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
    index: OpenIndex,
    rows: Int64,
    groups: Int64,
    *,
    files: TileFiles | None,
    fitted_on: Int64 | None = None,
) -> Leakage:
    """Find duplicates across groups, and between calibration and evaluation.

    Args:
        index: the index.
        rows: int64 [T], ascending: the tiles evaluated.
        groups: int64 [T].
        files: the tile files, to confirm copies; None goes by distance alone.
        fitted_on: indices of the tiles that the calibration was fitted on; None if unknown.

    Raises:
        IndexFormatError: an embedding is damaged.
    """
    digests = index.rows["sha256"].take(pa.array(rows)).combine_chunks().dictionary_encode()
    contents: Int64 = digests.indices.to_numpy().astype(np.int64)
    # Codes count contents in the order of their first tiles.
    firsts = np.unique(contents, return_index=True)[1]
    copies = find_copies(index, rows[firsts], copy_limits(index), files)
    order = np.argsort(copies.distances, kind="stable")
    left, right = (
        np.searchsorted(rows[firsts], each[order]) for each in (copies.left, copies.right)
    )
    tiles = _tiles_of(contents)
    near = [
        DuplicatePair(tile_a=min(a, b), tile_b=max(a, b), kind="nearly identical", distance=gap)
        for one, other, gap in zip(left, right, copies.distances[order].tolist(), strict=True)
        for a, b in itertools.product(tiles[one], tiles[other])
        if groups[a] != groups[b]
    ]
    same = list(itertools.islice(_identical_pairs(tiles, groups), MOST_LISTED))
    shared, duplicates = _across_calibration(contents, left, right, fitted_on)
    return Leakage(
        identical=_count_identical(contents, groups),
        near=len(near),
        listed=tuple([*same, *near][:MOST_LISTED]),
        shared_tiles=shared,
        calibration_duplicates=duplicates,
    )


def _tiles_of(contents: Int64) -> list[list[int]]:
    """List the tiles of each content."""
    order = np.argsort(contents, kind="stable")
    ends = np.cumsum(np.bincount(contents))[:-1]
    return [tiles.tolist() for tiles in np.split(order, ends)]


def _identical_pairs(tiles: list[list[int]], groups: Int64) -> Iterator[DuplicatePair]:
    for own in tiles:
        for a, b in itertools.combinations(own, 2):
            if groups[a] != groups[b]:
                yield DuplicatePair(tile_a=a, tile_b=b, kind="identical", distance=0.0)


def _count_identical(contents: Int64, groups: Int64) -> int:
    """Count pairs of tiles of one content in different groups."""
    cells = np.unique(np.stack([contents, groups]), axis=1, return_counts=True)[1]
    return int((np.bincount(contents) ** 2).sum() - (cells**2).sum()) // 2


def _across_calibration(
    contents: Int64, left: Int64, right: Int64, fitted_on: Int64 | None
) -> tuple[int | None, int]:
    """Count tiles that the calibration was fitted on, and copies of these.

    Args:
        contents: int64 [T], the content of each tile; the calibration knows all tiles of one.
        left: int64 [P], one content of each pair of copies.
        right: int64 [P], the other.
        fitted_on: indices of the tiles.
    """
    if fitted_on is None:
        return None, 0
    is_fitted = np.zeros(contents.max() + 1, bool)
    is_fitted[contents[fitted_on]] = True
    is_copy = np.zeros_like(is_fitted)
    is_copy[left[is_fitted[right]]] = True
    is_copy[right[is_fitted[left]]] = True
    return len(fitted_on), int((is_copy & ~is_fitted)[contents].sum())
