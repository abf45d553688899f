"""Evaluate an index on labelled pairs: metrics, baselines, examples and leakage."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from histo_index.arrays import Floats
from histo_index.indexer.reader import OpenIndex
from histo_index.search.calibration.calibration import CONTENT_DIGITS
from histo_index.search.calibration.fit import fit_threshold
from histo_index.search.calibration.objectives import Objective
from histo_index.search.calibration.threshold import Threshold
from histo_index.search.classification.measure import measure_index
from histo_index.search.copies.tile_files import TileFiles
from histo_index.search.evaluation.baselines import (
    compare_with_baselines,
    headline,
    majority,
)
from histo_index.search.evaluation.compare import Metrics, compute_metrics, curve_of, measure
from histo_index.search.evaluation.examples import (
    confusion_of,
    reliability_of,
    risk_coverage_of,
    strips_of,
    wrong_pairs_of,
)
from histo_index.search.evaluation.leakage import Leakage, find_leakage
from histo_index.search.evaluation.result import Contender, Evaluation
from histo_index.search.inputs.labelled_pairs import LabelledPairs
from histo_index.wording import counted


def evaluate(
    index: OpenIndex,
    dataset: LabelledPairs,
    threshold: Threshold,
    *,
    subset: LabelledPairs | None = None,
    baselines: Mapping[str, Floats] | None = None,
    files: TileFiles | None = None,
) -> Evaluation:
    """Evaluate an index on labelled pairs and classes, and compare it with the baselines.

    Args:
        index: the index to evaluate.
        dataset: the labelled tiles and pairs.
        threshold: decides the verdicts.
        subset: tiles of the dataset that the baselines are compared on; default: all.
        baselines: name to floats [T, D], the vectors of the subset; default: majority alone.
        files: the tile files, to confirm copies; default: by distance alone.

    Raises:
        InputError: there is no threshold, and same pairs are not nearer than different ones.
        IndexFormatError: a vector that is needed is damaged.
    """
    vectors = index.vectors(dataset.rows)
    metrics = compute_metrics(
        vectors,
        dataset,
        threshold=threshold.value,
        curve=threshold.calibration.curve if threshold.calibration else None,
    )
    shown = threshold if threshold.value is not None else _fitted_threshold(dataset, metrics)
    found = threshold.likelihoods(metrics.distances)
    probabilities = None if found is None else found.probability
    part = subset or dataset
    contenders = compare_with_baselines(
        _of_part(metrics, vectors, dataset, part), part, baselines or {}
    )
    contenders.append(majority(dataset, metrics))
    leakage = _leakage(index, dataset, threshold, files)
    own = Contender(
        name="index",
        pairs=metrics.pairs,
        retrieval=metrics.retrieval,
        lead={},
        curve=curve_of(metrics, dataset),
    )
    is_trained = index.manifest.encoder.is_trained
    return Evaluation(
        headline=headline(own, contenders, is_trained=is_trained),
        warnings=_warnings(dataset, threshold, leakage),
        dataset=dataset,
        threshold=shown,
        index=own,
        baselines=contenders,
        distances=metrics.distances,
        probabilities=probabilities,
        reliability=reliability_of(probabilities, dataset.is_same),
        risk_coverage=risk_coverage_of(metrics.distances, dataset, shown),
        confusion=confusion_of(dataset, metrics),
        ranking=metrics.ranking,
        wrong_pairs=wrong_pairs_of(metrics.distances, probabilities, dataset, shown),
        strips=strips_of(dataset, metrics),
        leakage=leakage,
        distance=index.manifest.distance_kind,
        provenance=_provenance(index, dataset, threshold),
        classes=measure_index(index, dataset),
    )


def _of_part(
    metrics: Metrics, vectors: Floats, dataset: LabelledPairs, part: LabelledPairs
) -> Metrics:
    """Return distances and ranks of the tiles that the baselines are compared on."""
    if len(part.rows) == len(dataset.rows):
        return metrics
    return measure(vectors[np.searchsorted(dataset.rows, part.rows)], part)


def _fitted_threshold(dataset: LabelledPairs, metrics: Metrics) -> Threshold:
    value = fit_threshold(dataset.sample(metrics.distances), Objective())
    return Threshold(value=value, origin="fitted on these pairs, for the charts only")


def _leakage(
    index: OpenIndex, dataset: LabelledPairs, threshold: Threshold, files: TileFiles | None
) -> Leakage:
    fitted_on = None
    if threshold.calibration is not None and threshold.calibration.contents is not None:
        known = set(threshold.calibration.contents)
        digests = index.rows["sha256"].take(pa.array(dataset.rows)).to_pylist()
        fitted_on = np.flatnonzero([digest[:CONTENT_DIGITS] in known for digest in digests])
    return find_leakage(index, dataset.rows, dataset.groups, files=files, fitted_on=fitted_on)


def _warnings(dataset: LabelledPairs, threshold: Threshold, leakage: Leakage) -> list[str]:
    found = []
    if dataset.problems:
        found.append(f"{counted(len(dataset.problems), 'row')} could not be used")
    if not dataset.has_groups:
        found.append(
            "no groups: tiles of one patient are treated as independent, so every metric is too "
            "good; pass --group COLUMN"
        )
    if threshold.value is None:
        found.append("no threshold: run `histo-index calibrate`, or pass --threshold")
    if leakage.identical or leakage.near:
        found.append(
            f"{leakage.describe()} of tiles lie across "
            f"{'groups' if dataset.has_groups else 'names'}"
        )
    shared = (leakage.shared_tiles or 0) + leakage.calibration_duplicates
    if shared and threshold.calibration is not None:
        found.append(
            f"{shared:,} of {len(dataset.rows):,} tiles are, or nearly are, tiles that the "
            "calibration was fitted on: its accuracy and probabilities look better than they are"
        )
    return found


def _provenance(index: OpenIndex, dataset: LabelledPairs, threshold: Threshold) -> dict[str, Any]:
    manifest = index.manifest
    calibration = threshold.calibration
    left_out = ("curve", "histogram", "contents", "classes")
    return {
        "encoder": asdict(manifest.encoder),
        "index": {
            "name": index.folder.name,
            "generation": manifest.generation,
            "created": manifest.created,
            "tiles": manifest.tiles,
            "libraries": dict(manifest.libraries),
        },
        "data": {"labels": dataset.labels_from, "pairs": dataset.pairs_from},
        "calibration": None
        if calibration is None
        else {k: v for k, v in calibration.as_dict().items() if k not in left_out},
    }
