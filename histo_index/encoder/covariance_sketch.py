"""How a tile's features vary together, in few numbers: the fixed draws behind `covariance`.

All covariances of a stage's channels tell textures apart best, and are up to half a million
numbers. Random signed sums of channels keep their covariances in the mean, and random signed sums
of these keep the angles between tiles.

Source: Gatys, Ecker & Bethge (2015), Texture synthesis using convolutional neural networks, on
what covariances tell; Gao, Beijbom, Zhang & Darrell (2016), Compact bilinear pooling, and
Charikar, Chen & Farach-Colton (2002), Finding frequent items in data streams, on the sums.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

# Of 64, 128 and 256 sums and 512, 700 and 1,024 numbers none told training tiles apart better.
SKETCH_SIZE: Final = 512
_SUMS: Final = 64
# Covariances in each number of a sketch.
_SHARE: Final = _SUMS**2 // SKETCH_SIZE


@dataclass(frozen=True, kw_only=True)
class Sketch:
    """How the covariances of C channels become SKETCH_SIZE numbers.

    Attributes:
        sums: float32 [C, 64] of -1, 0 and 1: which sum each channel enters, with which sign.
        order: int64 [SKETCH_SIZE, 8]: which of the 64 × 64 covariances each number adds up.
        signs: float32 [SKETCH_SIZE, 8] of -1 and 1, to multiply them by.
    """

    sums: npt.NDArray[np.float32]
    order: npt.NDArray[np.int64]
    signs: npt.NDArray[np.float32]


@lru_cache
def sketch_of(channels: int) -> Sketch:
    """Draw a sketch; always the same one for a number of channels."""
    # The old generator, whose numbers stay the same in every release of numpy.
    random = np.random.RandomState(channels)
    sums = np.zeros((channels, _SUMS), np.float32)
    places = random.permutation(channels) % _SUMS
    sums[np.arange(channels), places] = random.choice([-1.0, 1.0], channels)
    order = random.permutation(_SUMS**2).reshape(SKETCH_SIZE, _SHARE)
    signs = random.choice([-1.0, 1.0], (SKETCH_SIZE, _SHARE))
    return Sketch(sums=sums, order=order.astype(np.int64), signs=signs.astype(np.float32))
