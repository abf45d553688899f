"""Lay tiles out on a plane by t-SNE, from neighbours that are found already.

Source: van der Maaten and Hinton (2008), Visualizing data using t-SNE; Linderman et al. (2019),
Fast interpolation-based t-SNE; Kobak and Berens (2019), The art of using t-SNE for single-cell
transcriptomics (first places from principal components, learning rate in proportion to N).
"""

import importlib.util
from functools import partial
from importlib.metadata import version
from typing import Any, Final

import numpy as np

from histo_index.arrays import Float32, Floats, Int64
from histo_index.errors import InputError
from histo_index.hardware import usable_cores
from histo_index.progress import report

_EARLY: Final = 250
STEPS: Final = 750
_EXAGGERATION: Final = 12
_REPORT_EVERY: Final = 5
# Spread of the first places: small, so that the neighbours decide.
_START: Final = 1e-4
# From so many tiles on, interpolation is faster than a tree, which for fewer takes no threads.
_INTERPOLATED: Final = 4_000


def require_library() -> str:
    """Return name and version of what lays tiles out.

    Raises:
        InputError: it is not installed.
    """
    if importlib.util.find_spec("openTSNE") is None:
        raise InputError(
            "a map needs openTSNE, which is not installed; run pip install 'histo-index[map]'"
        )
    return f"t-SNE, openTSNE {version('openTSNE')}"


def lay_out(
    neighbours: Int64, distances: Float32, start: Floats, *, perplexity: float, seed: int
) -> Float32:
    """Lay tiles out so that neighbours lie together.

    Args:
        neighbours: int64 [N, K], the nearest others of each tile; -1 where there are fewer.
        distances: float32 [N, K], their squared distances.
        start: floats [N, 2], where the tiles are first.
        perplexity: about how many neighbours each tile is laid out by, at most K / 3.
        seed: of the noise that separates equal first places.

    Returns:
        float32 [N, 2], around the origin.
    """
    from openTSNE import TSNEEmbedding
    from openTSNE.affinity import PerplexityBasedNN
    from openTSNE.nearest_neighbors import PrecomputedNeighbors

    is_large = len(neighbours) >= _INTERPOLATED
    jobs = usable_cores() if is_large else 1
    # The library squares them.
    found = PrecomputedNeighbors(*_fill(neighbours, np.sqrt(distances)))
    affinities = PerplexityBasedNN(knn_index=found, perplexity=perplexity, n_jobs=jobs)
    points = TSNEEmbedding(
        _first_places(start, seed), affinities, n_jobs=jobs, random_state=seed,
        negative_gradient_method="fft" if is_large else "bh", callbacks_every_iters=_REPORT_EVERY,
        learning_rate="auto", momentum=0.8,
    )  # fmt: skip
    report("laying out", 0, STEPS, unit="steps")
    for first, last, exaggeration in ((0, _EARLY, _EXAGGERATION), (_EARLY, STEPS, 1)):
        reporter = partial(_report_step, first)
        points = points.optimize(last - first, exaggeration=exaggeration, callbacks=[reporter])
    laid = np.asarray(points, np.float32)
    return np.ascontiguousarray(laid - laid.mean(axis=0))


def _report_step(before: int, step: int, error: float, points: Any) -> None:
    report("laying out", before + step, STEPS, unit="steps")


def _first_places(start: Floats, seed: int) -> Floats:
    """Scale the first places down, with a little noise: equal ones could never part."""
    places = start.astype(np.float64) - start.mean(axis=0)
    spread = float(places[:, 0].std()) or 1.0
    noise = np.random.default_rng(seed).normal(0, _START / 100, places.shape)
    found: Floats = places * (_START / spread) + noise
    return found


def _fill(neighbours: Int64, distances: Float32) -> tuple[Int64, Floats]:
    """Repeat the furthest neighbour where there are fewer than K: affinities add up."""
    last = np.maximum((neighbours >= 0).sum(axis=1) - 1, 0)
    each = np.arange(len(neighbours))
    is_there = neighbours >= 0
    rows = np.where(is_there, neighbours, neighbours[each, last][:, None])
    gaps = np.where(is_there, distances, distances[each, last][:, None])
    return rows, gaps.astype(np.float64)
