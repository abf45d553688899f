"""Fit a calibration: threshold, probabilities and their uncertainty."""

from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Final

import numpy as np
import pyarrow as pa

from histo_index.arrays import Int64
from histo_index.errors import InputError
from histo_index.indexer.reader import OpenIndex
from histo_index.search.bootstrap import Estimate
from histo_index.search.calibration.calibration import CONTENT_DIGITS, Calibration, Histogram
from histo_index.search.calibration.checks import find_warnings, require_enough
from histo_index.search.calibration.cross_validation import cross_validate, share_of
from histo_index.search.calibration.fit import Fitted, fit
from histo_index.search.calibration.objectives import Objective
from histo_index.search.calibration.threshold import Threshold
from histo_index.search.classification.fit_index import fit_class_model
from histo_index.search.distance import indexed_pair_distances
from histo_index.search.inputs.labelled_pairs import LabelledPairs
from histo_index.search.inputs.sample import Sample
from histo_index.search.neighbours.novelty import far_distance

UNKNOWN: Final = Estimate(value=None, low=None, high=None)
_NO_ANSWER: Final = 'with --unsure every one of these pairs would be "unsure"; label more pairs'
_BINS: Final = 40
# Reading more hashes than this would slow down every look-up.
_MAX_CONTENTS: Final = 20_000


def calibrate(
    index: OpenIndex,
    dataset: LabelledPairs,
    objective: Objective,
    *,
    answers_unsure: bool = False,
    group: str | None = None,
) -> Calibration:
    """Fit threshold and probabilities to labelled pairs of indexed tiles.

    Args:
        index: the index to calibrate.
        dataset: the pairs.
        objective: what the threshold optimises.
        answers_unsure: whether verdicts may be unsure unless the user says otherwise.
        group: column of the index that holds the groups; default: `group` if it exists.

    Raises:
        InputError: the pairs are too few, all share one tile, or same pairs are not nearer than
            different ones.
        IndexFormatError: a vector that is needed is damaged.
    """
    require_enough(dataset)
    rows_a, rows_b = dataset.rows[dataset.left], dataset.rows[dataset.right]
    nothing = np.empty((0, index.manifest.vector_size), np.float16)
    distances = indexed_pair_distances(index, nothing, rows_a, rows_b)
    sample = dataset.sample(distances, objective.prior)
    fitted = _fit(dataset.pairs_from, sample, objective)
    accuracy = _accuracy(sample, objective)
    ends = fitted.threshold_interval
    tiles = np.unique(np.concatenate([rows_a, rows_b]))
    model = fit_class_model(index, dataset) if dataset.classes else None
    unfitted = [f"no class probabilities: {model}"] if isinstance(model, str) else []
    found = Calibration(
        fingerprint=index.manifest.fingerprint,
        distance=index.manifest.distance_name,
        threshold=Estimate.of(fitted.threshold, ends.low, ends.high),
        curve=fitted.curve,
        objective=str(objective),
        prior=sample.prior,
        accuracy=accuracy,
        answers_unsure=answers_unsure,
        far_distance=far_distance(index, group),
        is_unlabelled=False,
        source=dataset.pairs_from,
        unit="group" if dataset.has_groups else "tile",
        pairs=len(sample.distances),
        same=int(sample.is_same.sum()),
        tiles=len(tiles),
        units=len(np.unique([sample.units_a, sample.units_b])),
        unused=len(dataset.problems),
        warnings=[*find_warnings(_storable(index, dataset), accuracy), *unfitted],
        histogram=_histogram(sample),
        contents=tile_contents(index, tiles),
        classes=None if isinstance(model, str) else model,
        created=now(),
        libraries=library_versions(),
    )
    is_unsure = Threshold.choose(None, None, found, unsure=True).is_unsure(sample.distances)
    return replace(found, warnings=[*found.warnings, _NO_ANSWER]) if is_unsure.all() else found


def _storable(index: OpenIndex, dataset: LabelledPairs) -> LabelledPairs:
    """Replace group names by numbers if they may be private: later commands print the warnings."""
    if not index.shows_private:
        return dataset
    numbers = [str(number) for number in range(1, len(dataset.group_names) + 1)]
    return replace(dataset, group_names=numbers)


def _fit(name: str, sample: Sample, objective: Objective) -> Fitted:
    try:
        return fit(sample, objective)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def _accuracy(sample: Sample, objective: Objective) -> Estimate:
    called, is_judged = cross_validate(sample, objective)
    if not is_judged.any():
        return UNKNOWN
    share, ends = share_of(sample, called == sample.is_same, is_judged)
    return Estimate.of(share, ends.low, ends.high)


def _histogram(sample: Sample) -> Histogram:
    edges = np.linspace(0, sample.distances.max(), _BINS + 1)
    same, different = (
        np.histogram(sample.distances[kind], edges, weights=sample.counts[kind])[0].tolist()
        for kind in (sample.is_same, ~sample.is_same)
    )
    return Histogram(edges=edges.tolist(), same=same, different=different)


def tile_contents(
    index: OpenIndex, rows: Int64, *, max_tiles: int = _MAX_CONTENTS
) -> list[str] | None:
    """Return the start of the SHA-256 of each tile at rows int64 [n]; None for too many tiles."""
    if len(rows) > max_tiles:
        return None
    digests = index.rows["sha256"].take(pa.array(rows)).to_pylist()
    return [digest[:CONTENT_DIGITS] for digest in digests]


def now() -> str:
    """Return the time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def library_versions() -> dict[str, str]:
    """Return the version of each library that a calibration depends on."""
    return {name: version(name) for name in ("histo-index", "numpy", "scikit-learn", "scipy")}
