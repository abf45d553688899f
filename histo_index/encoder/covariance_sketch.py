"""Sketch the covariances of features: the fixed random sums of `covariance` pooling.

The covariances of the channels of a stage describe texture, and are up to half a million numbers.
Random signed sums of channels preserve their covariances in expectation, and random signed sums of
these preserve the angles between tiles.

Source: Gatys, Ecker & Bethge (2015), Texture synthesis using convolutional neural networks, on
covariances as texture; Gao, Beijbom, Zhang & Darrell (2016), Compact bilinear pooling, and
Charikar, Chen & Farach-Colton (2002), Finding frequent items in data streams, on the sums.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

# Larger sketches did not separate training tiles better.
SKETCH_SIZE: Final = 512
_SUMS: Final = 64
# Covariances in each number of a sketch.
_SHARE: Final = _SUMS**2 // SKETCH_SIZE


@dataclass(frozen=True, kw_only=True)
class Sketch:
    """The random sums that reduce the covariances of C channels to SKETCH_SIZE numbers.

    Attributes:
        sums: float32 [C, 64] of -1, 0 and 1: the sum that each channel enters, and its sign.
        order: int64 [SKETCH_SIZE, 8]: the entries of the 64 × 64 covariances in each sum.
        signs: float32 [SKETCH_SIZE, 8] of -1 and 1: their signs.
    """

    sums: npt.NDArray[np.float32]
    order: npt.NDArray[np.int64]
    signs: npt.NDArray[np.float32]


@lru_cache
def draw_sketch(channels: int) -> Sketch:
    """Draw the sketch of a number of channels; always the same one."""
    # The legacy generator, whose numbers are the same in every release of numpy.
    random = np.random.RandomState(channels)
    sums = np.zeros((channels, _SUMS), np.float32)
    columns = random.permutation(channels) % _SUMS
    sums[np.arange(channels), columns] = random.choice([-1.0, 1.0], channels)
    order = random.permutation(_SUMS**2).reshape(SKETCH_SIZE, _SHARE)
    signs = random.choice([-1.0, 1.0], (SKETCH_SIZE, _SHARE))
    return Sketch(sums=sums, order=order.astype(np.int64), signs=signs.astype(np.float32))
