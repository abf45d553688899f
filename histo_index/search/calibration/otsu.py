"""Estimate a threshold without labels: Otsu's method on distances of random pairs.

Plain distances are split by their logarithms, diffused ones as they are. There are no
probabilities. Measured against labelled thresholds in docs/benchmarks.md.

Source: Otsu (1979), A threshold selection method from gray-level histograms, IEEE Transactions on
Systems, Man, and Cybernetics 9(1), here without bins.
"""

from typing import Final

import numpy as np

from histo_index.arrays import Float64, Int64
from histo_index.errors import InputError
from histo_index.indexer.format.records import PLAIN
from histo_index.indexer.reader import OpenIndex
from histo_index.search.bootstrap import Estimate, bands
from histo_index.search.calibration.calibrate import (
    UNKNOWN,
    library_versions,
    now,
    tile_contents,
)
from histo_index.search.calibration.calibration import Calibration
from histo_index.search.distance import pair_distances
from histo_index.search.inputs.labels import has_own_groups, own_groups
from histo_index.search.neighbours.novelty import far_distance
from histo_index.wording import counted

_TILES: Final = 2_000
_PAIRS: Final = 6_000
_FEWEST_TILES: Final = 20
_ROUNDS: Final = 400
# Copies among random pairs would be a kind of their own.
_COPIES: Final = 0.01


def guess(index: OpenIndex, *, group: str | None = None, seed: int = 0) -> Calibration:
    """Estimate a threshold from the distances of random pairs of tiles of different groups.

    Args:
        index: whose distances are calibrated.
        group: column of the index that holds the groups; left out, `group` where there is one.
        seed: of drawing pairs.

    Raises:
        InputError: there is no such column, or the tiles or groups are too few.
        IndexFormatError: a vector that is needed is damaged.
    """
    generator = np.random.default_rng(seed)
    live = index.live_rows()
    rows = np.sort(generator.choice(live, min(len(live), _TILES), replace=False))
    units = np.unique(own_groups(index, rows, group), return_inverse=True)[1]
    left, right = generator.integers(0, len(rows), (2, _PAIRS))
    is_across = units[left] != units[right]
    left, right = left[is_across], right[is_across]
    if len(rows) < _FEWEST_TILES or not len(left):
        raise InputError(
            f"{index.folder}: {counted(len(rows), 'tile')} of "
            f"{counted(int(units.max()) + 1, 'group')}; expected at least "
            f"{_FEWEST_TILES} tiles of two groups to estimate a threshold: add tiles"
        )
    vectors = index.vectors(rows)
    distances = pair_distances(vectors[left], vectors[right])
    order = np.argsort(distances)
    left, right = left[order], right[order]
    threshold = _split(
        distances[order].astype(np.float64),
        units[left],
        units[right],
        by_logarithms=index.manifest.distance_kind == PLAIN,
    )
    has_groups = has_own_groups(index, group)
    tiles = rows[np.unique([left, right])]
    return Calibration(
        fingerprint=index.manifest.fingerprint,
        distance=index.manifest.distance_name,
        threshold=threshold,
        curve=None,
        objective="the valley between near and far pairs",
        prior=0.5,
        accuracy=UNKNOWN,
        answers_unsure=False,
        far_distance=far_distance(index, group),
        is_unlabelled=True,
        source=f"{len(left):,} random pairs across {'groups' if has_groups else 'tiles'}",
        unit="group" if has_groups else "tile",
        pairs=len(left),
        same=0,
        tiles=len(tiles),
        units=int(units.max()) + 1,
        unused=0,
        warnings=[],
        histogram=None,
        contents=tile_contents(index, tiles),
        classes=None,
        created=now(),
        libraries=library_versions(),
    )


def _split(distances: Float64, units_a: Int64, units_b: Int64, *, by_logarithms: bool) -> Estimate:
    """Split rising distances of pairs in two: the threshold with its interval."""
    values = _logarithms(distances) if by_logarithms else distances
    low, high = bands(
        lambda weights: np.array([_valley(values, weights)]),
        units_a,
        units_b,
        rounds=_ROUNDS,
        is_share=False,
    )
    ends = np.array([_valley(values, np.ones(len(values))), low[0], high[0]])
    return Estimate.of(*(np.exp(ends) if by_logarithms else ends).tolist())


def _logarithms(distances: Float64) -> Float64:
    smallest = np.quantile(distances, _COPIES)
    if not smallest > 0:
        smallest = distances[distances > 0].min(initial=1.0)
    return np.log(np.maximum(distances, smallest))


def _valley(values: Float64, weights: Float64) -> float:
    """Split rising numbers in two; return the midpoint between the means of the parts.

    The parts are those whose means differ most, for how many numbers they hold; NaN if all are one.
    """
    counts, sums = np.cumsum(weights), np.cumsum(weights * values)
    with np.errstate(invalid="ignore", divide="ignore"):
        below, above = sums / counts, (sums[-1] - sums) / (counts[-1] - counts)
        between = counts * (counts[-1] - counts) * (above - below) ** 2
    between[~np.isfinite(between)] = 0.0
    best = int(between.argmax())
    return float((below[best] + above[best]) / 2) if between[best] > 0 else float("nan")
