"""Compare tiles by their pixels: the correlation of small grey thumbnails."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from histo_index.arrays import Float32, Int64
from histo_index.search.copies.limits import LEAST_CONTRAST

# Pairs at a time: 34 MB of thumbnails of 32 × 32.
_BLOCK: Final = 4096


class Thumbnail(Protocol):
    """A small grey picture of a tile: luminance float32 [T, T], 0 to 255, and its file's hash."""

    @property
    def pixels(self) -> Float32: ...

    @property
    def sha256(self) -> str: ...


# Reads a thumbnail of T × T pixels per file, in order; None for a file that cannot be read.
ReadThumbnails = Callable[[Sequence[Path], int], Iterable[Thumbnail | None]]


def correlations(thumbnails: Float32, left: Int64, right: Int64) -> Float32:
    """Correlate pairs of thumbnails, the second one also turned and mirrored.

    Normalised cross-correlation (Pearson) of the luminance: changes of brightness, contrast, size
    and compression leave it near 1. The largest of the eight orientations counts.

    Args:
        thumbnails: float32 [n, T, T].
        left: int64 [P], the first thumbnail of each pair.
        right: int64 [P], the second.

    Returns:
        float32 [P], -1 to 1.

    Source: Lewis (1995), Fast normalized cross-correlation, Vision Interface.
    """
    unit = _normalise(thumbnails)
    best = np.full(len(left), -1, np.float32)
    for start in range(0, len(left), _BLOCK):
        part = slice(start, start + _BLOCK)
        first, second = unit[left[part]], unit[right[part]]
        for turned in _orientations(second):
            np.maximum(best[part], np.einsum("pij,pij->p", first, turned), out=best[part])
    return best


def _normalise(thumbnails: Float32) -> Float32:
    centred = thumbnails - thumbnails.mean(axis=(1, 2), keepdims=True)
    contrast = np.maximum(centred.std(axis=(1, 2), keepdims=True), LEAST_CONTRAST)
    unit: Float32 = centred / (contrast * thumbnails.shape[1])
    return unit


def _orientations(thumbnails: Float32) -> Iterator[Float32]:
    for quarter_turns in range(4):
        turned = np.rot90(thumbnails, quarter_turns, axes=(1, 2))
        yield turned
        yield turned[:, :, ::-1]
