"""Activation ranges that turn an encoder's graph into int8, measured once and kept beside it.

How near int8 stays to the float32 reference, as the tests check it: the cosine of an image's two
embeddings is at least LEAST_COSINE, and LEAST_MEAN_COSINE on average. Measured were a least of
0.978 and a mean of 0.995 (ResNet-18 at 64 px, batch norm half way settled) and 0.975 and 0.9988
(briefly trained ResNeXt-50). It depends on the weights: with random ones whose batch norm was
fitted to 32 tiles the least was 0.88. Distances move with it, so int8 has a fingerprint of its own.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from histo_index.encoder.folder import INT8_NAME
from histo_index.encoder.replacing import replace_file
from histo_index.errors import IndexFormatError, InputError, MismatchError

LEAST_COSINE: Final = 0.95
LEAST_MEAN_COSINE: Final = 0.985
# Mean range over 64 tiles: more changed the measured agreement in the sixth digit only.
CALIBRATION_TILES: Final = 64


@dataclass(frozen=True, kw_only=True)
class Ranges:
    """Lowest and highest value of every tensor that int8 rounds.

    Attributes:
        fingerprint: of the encoder they were measured on.
        tiles: how many tiles they were measured on.
        limits: tensor name to (lowest, highest), each the mean over the tiles.
    """

    fingerprint: str
    tiles: int
    limits: Mapping[str, tuple[float, float]]

    def edges(self, name: str) -> tuple[float, float]:
        """Give the ends of the 256 levels; zero is always one of them.

        Raises:
            MismatchError: nothing was measured under this name.
        """
        if name not in self.limits:
            raise MismatchError(
                f"the int8 ranges of encoder {self.fingerprint} lack {name}; measure them again "
                "with `histo-index encoder quantize`"
            )
        low, high = self.limits[name]
        if low >= 0:
            return 0.0, max(high, 1e-6)
        limit = max(-low, high)
        return -limit * 128 / 127, limit

    @property
    def digest(self) -> str:
        """Identify the ranges: embeddings made with others are another encoder's."""
        text = json.dumps([self.tiles, sorted(self.limits.items())])
        return hashlib.sha256((self.fingerprint + text).encode()).hexdigest()[:32]


def save_ranges(folder: Path, ranges: Ranges) -> None:
    """Write the ranges into the encoder's folder."""
    document = {
        "fingerprint": ranges.fingerprint,
        "digest": ranges.digest,
        "tiles": ranges.tiles,
        "limits": dict(ranges.limits),
    }
    replace_file(folder / INT8_NAME, (json.dumps(document, indent=1) + "\n").encode())


def load_ranges(folder: Path, fingerprint: str) -> Ranges:
    """Read the ranges of an encoder.

    Raises:
        InputError: the encoder has none yet.
        IndexFormatError: they are damaged or another encoder's.
    """
    path = folder / INT8_NAME
    if not path.is_file():
        raise InputError(
            f"{folder} has no int8 ranges; measure them with "
            f"`histo-index encoder quantize {folder} TILES...`"
        )
    try:
        document = json.loads(path.read_bytes())
        ranges = Ranges(
            fingerprint=document["fingerprint"],
            tiles=document["tiles"],
            limits={name: (low, high) for name, (low, high) in document["limits"].items()},
        )
        whole = ranges.digest == document["digest"] and ranges.fingerprint == fingerprint
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise IndexFormatError(
            f"{path}: damaged, or not of encoder {fingerprint}; measure the ranges again with "
            f"`histo-index encoder quantize {folder} TILES...`"
        )
    return ranges
