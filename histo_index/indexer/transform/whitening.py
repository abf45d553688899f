"""Whitening: centre embeddings and damp the directions in which all tiles vary.

Most of the distance between two tiles is stain and what else varies everywhere, which says least
about their tissue. Fitted on the index itself, without labels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from histo_index.arrays import Float32

# Beyond these variances are so small beside the ridge that damping them changes nothing.
_DIRECTIONS: Final = 16
# Ridge as a share of the total variance: from 0.5 to 2 it makes no difference that shows on
# held-out groups of training tiles, see benchmarks/sharper_distances.py.
_RIDGE: Final = 1.0
# Nearer to the middle only the rounding of float16 is left of an embedding.
_NOTHING: Final = 1e-3
# Singular values below this share of the largest are rounding.
_LEAST: Final = 1e-5
# 34 MB in float32 at 2048 dimensions.
_BLOCK: Final = 4096


@dataclass(frozen=True, kw_only=True)
class Whitening:
    """How embeddings become vectors.

    Attributes:
        mean: float32 [D], the middle of the embeddings it was fitted on.
        damping: float32 [r, D], the directions they vary most in, each as long as the root of the
            share that is taken out of it.
    """

    mean: Float32
    damping: Float32

    def apply(self, embeddings: npt.NDArray[np.floating]) -> Float32:
        """Whiten embeddings; each result depends on its own embedding alone.

        Args:
            embeddings: floats [n, D], rows of length 1.

        Returns:
            float32 [n, D], rows of length 1. An embedding right in the middle stays as it is.
        """
        vectors = np.empty(embeddings.shape, np.float32)
        for start in range(0, len(embeddings), _BLOCK):
            # How memory lies decides in which order numbers are added.
            block = embeddings[start : start + _BLOCK].astype(np.float32, order="C")
            vectors[start : start + _BLOCK] = self._apply(block)
        return vectors

    def _apply(self, block: Float32) -> Float32:
        centred = block - self.mean
        # Not `@`: what BLAS gives for a row depends in its last digits on how many there are.
        parts = np.einsum("nd,rd->nr", centred, self.damping, optimize=False)
        centred -= np.einsum("nr,rd->nd", parts, self.damping, optimize=False)
        lengths = np.sqrt(np.einsum("nd,nd->n", centred, centred, optimize=False))
        is_somewhere = lengths > _NOTHING
        centred[is_somewhere] /= lengths[is_somewhere, None]
        centred[~is_somewhere] = block[~is_somewhere]
        return centred

    @property
    def size(self) -> int:
        """D, which vectors have like embeddings."""
        return len(self.mean)

    def arrays(self) -> dict[str, Float32]:
        """Return the arrays to store, by name."""
        return {"mean": self.mean, "damping": self.damping}

    @classmethod
    def from_arrays(cls, stored: Mapping[str, Float32]) -> Self:
        """Restore from the arrays that `arrays` returned."""
        return cls(mean=stored["mean"], damping=stored["damping"])


def fit_whitening(embeddings: npt.NDArray[np.floating], *, ridge: float = _RIDGE) -> Whitening:
    """Fit a whitening to embeddings.

    A principal direction of variance v is divided by the root of v + ridge, up to a factor; the
    ridge is in proportion to the total variance. Only the few that dominate are shortened by it
    noticeably.

    Args:
        embeddings: floats [n, D], rows of length 1; n is at least 1.
        ridge: as a share of the total variance; the less, the more is damped.

    Source: Kessy, Lewin and Strimmer (2018), Optimal whitening and decorrelation; the ridge as in
    Ledoit and Wolf (2004), A well-conditioned estimator for large-dimensional covariance matrices.
    """
    mean = embeddings.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred = embeddings.astype(np.float32)
    centred -= mean
    total = float(np.einsum("nd,nd->", centred, centred, dtype=np.float64)) / len(centred)
    variances, directions = principal_directions(centred, _DIRECTIONS)
    taken = 1 - np.sqrt(ridge * total / (variances + ridge * total))
    damping = np.sqrt(taken)[:, None] * directions
    return Whitening(mean=mean, damping=damping.astype(np.float32))


def principal_directions(centred: Float32, count: int) -> tuple[npt.NDArray[np.float64], Float32]:
    """Find the directions that vectors vary most in.

    Args:
        centred: float32 [n, D], of mean 0.
        count: how many are wanted; there are fewer where vectors span fewer, and none where they
            all are nothing but rounding.

    Returns:
        Variances, float64 [r], and directions of length 1, float32 [r, D].
    """
    # Imported here: look-ups only apply what was fitted.
    from scipy.sparse.linalg import svds

    count = min(count, *(side - 1 for side in centred.shape))
    if count < 1 or not np.abs(centred).max() > _NOTHING:
        return np.empty(0), np.empty((0, centred.shape[1]), np.float32)
    start = np.random.default_rng(0).normal(size=min(centred.shape)).astype(np.float32)
    _, singular, directions = svds(centred, k=count, v0=start)
    is_real = singular > _LEAST * singular.max()
    return singular[is_real].astype(np.float64) ** 2 / len(centred), directions[is_real]
