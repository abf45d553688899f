"""The teacher of a run: features of the tiles by another network, and the targets made of them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from histo_index.arrays import Float32
from histo_index.encoder.config import PROJECTION_SIZE

# Directions that vary less than this share of the widest one are noise: they are scaled no further.
_DAMPING: Final = 0.1
_SHORTEST: Final = 1e-12


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """The features of the tiles of a run by another network.

    Attributes:
        name: of the file or index they come from, for the model card.
        columns: name to float32 [N, C]: one row a tile, in the order of the tiles; a row of NaN
            marks a tile without features.
    """

    name: str
    columns: Mapping[str, Float32]

    @property
    def known(self) -> int:
        """Number of tiles with features."""
        return int(np.isfinite(self._joined()).all(axis=1).sum())

    def take(self, rows: list[int]) -> "Teacher":
        """Return the features of some of the tiles."""
        columns = {name: features[rows] for name, features in self.columns.items()}
        return Teacher(name=self.name, columns=columns)

    def digest(self) -> str:
        """Hash the features, for a check that a resumed run has the same."""
        return hashlib.sha256(self._joined().tobytes()).hexdigest()[:32]

    def targets(self) -> torch.Tensor:
        """Whiten the features.

        Each column is scaled to unit length, so that none outweighs another. They are joined and
        centred. Principal components are divided by their standard deviation, the smallest ones by
        more.

        Returns:
            float32 [N, PROJECTION_SIZE], rows of unit length, or of NaN without features. Where
            the features have fewer directions, the last entries are 0.
        """
        joined = self._joined()
        known = np.isfinite(joined).all(axis=1)
        centred = joined[known] - joined[known].mean(axis=0)
        covariance = centred.T.astype(np.float64) @ centred / len(centred)
        variances, directions = np.linalg.eigh(covariance)  # ascending
        count = min(PROJECTION_SIZE, len(variances))
        variances, directions = variances[::-1][:count], directions[:, ::-1][:, :count]
        scales = 1 / np.sqrt(np.maximum(variances, 0) + _DAMPING**2 * variances[0])
        whitened = (centred @ directions) * scales
        lengths = np.linalg.norm(whitened, axis=1, keepdims=True)
        targets = np.full((len(joined), PROJECTION_SIZE), np.nan, np.float32)
        targets[known] = 0
        targets[np.flatnonzero(known), :count] = whitened / np.maximum(lengths, _SHORTEST)
        return torch.from_numpy(targets)

    def _joined(self) -> Float32:
        parts = []
        for features in self.columns.values():
            lengths = np.linalg.norm(features, axis=1, keepdims=True)
            parts.append(features / np.maximum(lengths, _SHORTEST))
        return np.concatenate(parts, axis=1)
