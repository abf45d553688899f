"""Compare tiles by their pixels: the correlation of small grey thumbnails."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from histo_index.arrays import Bools, Float16, Float32, Int64
from histo_index.indexer.nearest.kernel import row_distances
from histo_index.search.copies.limits import LEAST_CONTRAST

Greys = npt.NDArray[np.uint8]

# Pairs or thumbnails at a time: 17 MB of thumbnails of 32 × 32.
_BLOCK: Final = 4096
# What float16 may lose in the distances of symmetric parts.
_ROUNDING: Final = 0.005


class Thumbnail(Protocol):
    """A small grey picture of a tile: luminance uint8 [T, T], and its file's hash."""

    @property
    def pixels(self) -> Greys: ...

    @property
    def sha256(self) -> str: ...


# Reads a thumbnail of T × T pixels per file, in order; None for a file that cannot be read.
ReadThumbnails = Callable[[Sequence[Path], int], Iterable[Thumbnail | None]]


def are_alike(thumbnails: Greys, left: Int64, right: Int64, least: float) -> Bools:
    """Check which pairs correlate by at least so much, in one of eight orientations.

    What a thumbnail has in common with all its own orientations, its symmetric part, is the same
    in each of them. Where these parts differ by more than two thumbnails of that correlation may,
    no orientation need be tried: of different fields few are left.

    Args:
        thumbnails: uint8 [n, T, T], T even.
        left: int64 [P], the first thumbnail of each pair.
        right: int64 [P], the second.
        least: correlation, -1 to 1.

    Returns:
        bool [P]: `correlations(...) >= least`.
    """
    parts = symmetric_parts(thumbnails)
    gaps = row_distances(parts, parts, left_rows=left, right_rows=right)
    is_alike = gaps <= parts_limit(least)
    found = correlations(thumbnails, left[is_alike], right[is_alike])
    is_alike[is_alike] = found >= least
    return is_alike


def correlations(thumbnails: Greys, left: Int64, right: Int64) -> Float32:
    """Correlate pairs of thumbnails, the second one also turned and mirrored.

    Normalised cross-correlation (Pearson) of the luminance: changes of brightness, contrast, size
    and compression leave it near 1. The largest of the eight orientations counts.

    Args:
        thumbnails: uint8 [n, T, T].
        left: int64 [P], the first thumbnail of each pair.
        right: int64 [P], the second.

    Returns:
        float32 [P], -1 to 1.

    Source: Lewis (1995), Fast normalized cross-correlation, Vision Interface.
    """
    best = np.full(len(left), -1, np.float32)
    for start in range(0, len(left), _BLOCK):
        part = slice(start, start + _BLOCK)
        first, second = _normalise(thumbnails[left[part]]), _normalise(thumbnails[right[part]])
        for turned in _orientations(second):
            np.maximum(best[part], np.einsum("pij,pij->p", first, turned), out=best[part])
    return best


def _normalise(thumbnails: Greys) -> Float32:
    """Return thumbnails of mean 0 and length 1, or shorter where the contrast is low."""
    centred = thumbnails - thumbnails.mean(axis=(1, 2), keepdims=True, dtype=np.float32)
    contrast = np.maximum(centred.std(axis=(1, 2), keepdims=True), LEAST_CONTRAST)
    unit: Float32 = centred / (contrast * thumbnails.shape[1])
    return unit


def _orientations(thumbnails: Float32) -> Iterator[Float32]:
    for quarter_turns in range(4):
        turned = np.rot90(thumbnails, quarter_turns, axes=(1, 2))
        yield turned
        yield turned[:, :, ::-1]


def parts_limit(least: float) -> float:
    """Return how far apart the symmetric parts of thumbnails of a correlation may be, squared."""
    # Unit vectors of this correlation are so far apart; a projection brings none further apart.
    return 2 - 2 * least + _ROUNDING


def symmetric_parts(thumbnails: Greys) -> Float16:
    """Average the orientations of each normalised thumbnail: float16 [n, T² / 4].

    The average is the same in all four quarters, so one of them, doubled, has its length.
    """
    half = thumbnails.shape[1] // 2
    parts = np.empty((len(thumbnails), half * half), np.float16)
    for start in range(0, len(thumbnails), _BLOCK):
        unit = _normalise(thumbnails[start : start + _BLOCK])
        mean = sum(turned[:, :half, :half] for turned in _orientations(unit)) / 8
        parts[start : start + _BLOCK] = 2 * np.reshape(mean, (len(unit), -1))
    return parts
