"""Diffusion coordinates: which cluster of an index a tile belongs to.

Tissue classes form elongated clusters: the ends of one cluster can be further apart than two
clusters are. A random walk from tile to similar tile stays within a cluster for some steps. Tiles
from which it reaches the same tiles get similar coordinates, even if they look different. Fitted on
the index itself, without labels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from histo_index.arrays import Float32, Float64
from histo_index.indexer.transform.threads import one_blas_thread
from histo_index.indexer.transform.whitening import Whitening, fit_whitening, principal_directions

# All constants were chosen on training tiles: held-out groups, and a left-out source.
_LANDMARKS: Final = 1024
# Principal directions in which neighbours are looked for.
_DIRECTIONS: Final = 32
_NEIGHBOURS: Final = 20
# Of the exponent: a landmark's _NEIGHBOURS-th nearest weighs about exp(-3) of itself.
_SHARPNESS: Final = 3.0
_EIGENVECTORS: Final = 23
_STEPS: Final = 4
# A coordinate that all tiles share, so that a tile in no cluster is not all noise. Leading
# eigenvectors, before their eigenvalues, have a mean square of 1.
_SHARED: Final = 0.25
# Of the squared distance, what the coordinates make up; whitened vectors make up the rest. With
# more of it nearest neighbours are found worse.
_SHARE: Final = 0.7
# Below that float32 cannot separate a distance from 0: copies of one tile are no cluster.
_LEAST_REACH: Final = 1e-3
# 17 MB of weights in float32.
_BLOCK: Final = 4096


@dataclass(frozen=True, kw_only=True)
class Diffusion:
    """How embeddings become vectors: whitened, and joined with diffusion coordinates.

    Attributes:
        whitening: what is done to them first.
        directions: float32 [p, D], in which whitened vectors are compared with landmarks.
        landmarks: float32 [m, p], tiles of the index in these directions.
        reaches: float32 [m], how far the neighbourhood of each landmark goes.
        coordinates: float32 [m, c], where a walk from each landmark leads.
        share: of the squared distance, what the coordinates make up.
    """

    whitening: Whitening
    directions: Float32
    landmarks: Float32
    reaches: Float32
    coordinates: Float32
    share: float = _SHARE

    @property
    def size(self) -> int:
        """Length of a vector, D + c."""
        return self.whitening.size + int(self.coordinates.shape[1])

    def apply(self, embeddings: npt.NDArray[np.floating]) -> Float32:
        """Turn embeddings into vectors, each by itself: a tile's does not depend on the others.

        Args:
            embeddings: floats [n, D], rows of length 1.

        Returns:
            float32 [n, D + c], rows of length 1.
        """
        vectors = np.empty((len(embeddings), self.size), np.float32)
        for start in range(0, len(embeddings), _BLOCK):
            part = slice(start, start + _BLOCK)
            whitened = self.whitening.apply(embeddings[part])
            coordinates = self._coordinates_of(whitened)
            vectors[part, : self.whitening.size] = np.sqrt(1 - self.share) * whitened
            vectors[part, self.whitening.size :] = np.sqrt(self.share) * coordinates
        return vectors

    def _coordinates_of(self, whitened: Float32) -> Float32:
        """Compute diffusion coordinates: float32 [n, c], unit rows."""
        gaps = _gaps(_project(whitened, self.directions), self.landmarks)
        weights = _weights(gaps, _reaches(gaps), self.reaches)
        # Not `@`: what BLAS gives for a row depends in its last digits on how many there are.
        mixed = np.einsum("nm,mc->nc", weights, self.coordinates, optimize=False)
        lengths = np.sqrt(np.einsum("nc,nc->n", mixed, mixed, optimize=False))
        unit: Float32 = mixed / lengths[:, None]
        return unit

    def arrays(self) -> dict[str, Float32]:
        """Return the arrays to store, by name."""
        return self.whitening.arrays() | {
            "directions": self.directions,
            "landmarks": self.landmarks,
            "reaches": self.reaches,
            "coordinates": self.coordinates,
            "share": np.array(self.share),
        }

    @classmethod
    def from_arrays(cls, stored: Mapping[str, Float32]) -> Self:
        """Restore from the arrays that `arrays` returned."""
        own = {name: stored[name] for name in ("directions", "landmarks", "reaches", "coordinates")}
        whitening = Whitening.from_arrays(stored)
        return cls(whitening=whitening, share=float(stored["share"]), **own)


def fit_diffusion(embeddings: npt.NDArray[np.floating]) -> Diffusion:
    """Fit whitening and diffusion coordinates to embeddings.

    A walk steps between landmarks, randomly drawn tiles, with odds that fall with the squared
    distance, measured in units of how far the neighbours of both lie. The leading eigenvectors of
    one step, times their eigenvalues to the power of the steps, are coordinates in which distance
    is how differently two walks go on. Other tiles take their first step to the landmarks.

    Args:
        embeddings: floats [n, D], rows of length 1; n is at least 2.

    Source: Coifman and Lafon (2006), Diffusion maps; local scales by Zelnik-Manor and Perona
    (2004), Self-tuning spectral clustering; other tiles by Nyström's extension, as in Fowlkes,
    Belongie, Chung and Malik (2004), Spectral grouping using the Nyström method.
    """
    with one_blas_thread():
        return _fit(embeddings)


def _fit(embeddings: npt.NDArray[np.floating]) -> Diffusion:
    whitening = fit_whitening(embeddings)
    count = min(len(embeddings), _LANDMARKS)
    drawn = np.random.default_rng(0).choice(len(embeddings), count, replace=False)
    whitened = whitening.apply(embeddings[np.sort(drawn)])
    _, directions = principal_directions(whitened - whitened.mean(axis=0), _DIRECTIONS)
    landmarks = _project(whitened, directions)
    gaps = _gaps(landmarks, landmarks)
    reaches = _reaches(gaps)
    return Diffusion(
        whitening=whitening,
        directions=directions,
        landmarks=landmarks,
        reaches=reaches,
        coordinates=_walk(_weights(gaps, reaches, reaches).astype(np.float64)),
    )


def _walk(weights: Float64) -> Float32:
    """Find where all steps but the first lead from each landmark: float32 [m, c].

    Args:
        weights: [m, m], symmetric; the odds of a step are in proportion.
    """
    roots = np.sqrt(weights.sum(axis=1))
    eigenvalues, vectors = np.linalg.eigh(weights / (roots[:, None] * roots))
    # From the largest on, without the first, which is 1 everywhere.
    leading = slice(-2, -2 - _EIGENVECTORS, -1)
    eigenvalues = eigenvalues[leading].clip(min=0)
    vectors = vectors[:, leading] / roots[:, None] * np.linalg.norm(roots)
    shared = np.full((len(weights), 1), _SHARED)
    coordinates = np.hstack([shared, vectors * eigenvalues ** (_STEPS - 1)])
    return coordinates.astype(np.float32)


def _project(whitened: Float32, directions: Float32) -> Float32:
    projected: Float32 = np.einsum("nd,pd->np", whitened, directions, optimize=False)
    return projected


def _gaps(points: Float32, landmarks: Float32) -> Float32:
    """Measure squared distances: float32 [n, m]."""
    squares = (np.einsum("np,np->n", own, own, optimize=False) for own in (points, landmarks))
    gaps: Float32 = np.add.outer(*squares)
    gaps -= 2 * np.einsum("np,mp->nm", points, landmarks, optimize=False)
    return gaps.clip(min=0, out=gaps)


def _reaches(gaps: Float32) -> Float32:
    """Compute the distance to each point's last neighbour, the point itself not counted."""
    last = min(_NEIGHBOURS, gaps.shape[1] // 4)
    return np.sqrt(np.partition(gaps, last, axis=1)[:, last]).clip(min=_LEAST_REACH)


def _weights(gaps: Float32, reaches: Float32, of_landmarks: Float32) -> Float32:
    """Weigh each landmark for each point, the most likely step at 1: float32 [n, m]."""
    exponents = gaps / (reaches[:, None] * of_landmarks)
    # Of landmarks nothing but rounding: each is its own nearest.
    exponents -= exponents.min(axis=1, keepdims=True)
    weights: Float32 = np.exp(-_SHARPNESS * exponents)
    return weights
