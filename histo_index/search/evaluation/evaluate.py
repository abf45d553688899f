"""Evaluate an index on labels: its figures, those of the floors, and what is behind them."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from histo_index.arrays import Int64
from histo_index.errors import HistoIndexError
from histo_index.indexer.reader import OpenIndex
from histo_index.search.calibration.calibration import CONTENT_DIGITS
from histo_index.search.calibration.fit import fit_threshold
from histo_index.search.calibration.objectives import Objective
from histo_index.search.calibration.threshold import Threshold
from histo_index.search.evaluation.baselines import (
    COLOUR,
    RANDOM,
    compare_with_floors,
    headline,
    majority,
)
from histo_index.search.evaluation.compare import Judged, curve_of, judge
from histo_index.search.evaluation.examples import (
    confusion_of,
    reliability_of,
    risk_coverage_of,
    strips_of,
    wrong_pairs_of,
)
from histo_index.search.evaluation.leakage import Leakage, find_leakage
from histo_index.search.evaluation.result import Contender, Evaluation
from histo_index.search.inputs.labelled_pairs import Subject
from histo_index.search.neighbours.near_duplicates import near_limit
from histo_index.search.retrieval_metrics import rank_others
from histo_index.wording import counted

# Rows of the index to vectors [n, D] of each floor by name; raises where a tile is out of reach.
FloorVectors = Callable[[Int64], Mapping[str, npt.NDArray[np.floating]]]

# More tiles than this are drawn from when looking for twins, so that it takes seconds.
_MOST_SEARCHED: Final = 5_000

_log = logging.getLogger(__name__)


def evaluate(
    index: OpenIndex,
    subject: Subject,
    threshold: Threshold,
    *,
    floor_vectors: FloorVectors | None = None,
) -> Evaluation:
    """Judge an index by labelled pairs and classes, beside what it has to beat.

    Args:
        index: what is judged.
        subject: what it is judged on.
        threshold: what its verdicts rest on.
        floor_vectors: makes the vectors of the floors; None leaves them out.

    Raises:
        InputError: the distances tell nothing, and no threshold is there.
        IndexFormatError: a vector that is needed is damaged.
    """
    vectors = index.vectors(subject.rows)
    curve = threshold.calibration.curve if threshold.calibration else None
    judged = judge(
        vectors,
        subject,
        threshold=threshold.value,
        probability=None if curve is None else lambda d: curve.at(d).probability,
    )
    shown = threshold if threshold.value is not None else _fitted_threshold(subject, judged)
    found = threshold.likelihoods(judged.distances)
    probabilities = None if found is None else found.probability
    floors, missing = _floors(vectors, subject, judged, floor_vectors)
    leakage = _leakage(index, vectors, subject, threshold)
    own = Contender(
        name="index",
        pairs=judged.pairs,
        retrieval=judged.retrieval,
        lead={},
        curve=curve_of(judged, subject),
    )
    is_trained = index.manifest.encoder.is_trained
    return Evaluation(
        headline=headline(own, floors, is_trained=is_trained),
        warnings=[*missing, *_warnings(subject, threshold, leakage)],
        subject=subject,
        threshold=shown,
        index=own,
        floors=floors,
        distances=judged.distances,
        probabilities=probabilities,
        reliability=reliability_of(probabilities, subject.is_same),
        risk_coverage=risk_coverage_of(judged.distances, subject, shown),
        confusion=confusion_of(subject, judged),
        ranking=judged.ranking,
        wrong_pairs=wrong_pairs_of(judged.distances, probabilities, subject, shown),
        strips=strips_of(subject, judged),
        leakage=leakage,
        distance=index.manifest.distance_kind,
        provenance=_provenance(index, subject, threshold),
    )


def _fitted_threshold(subject: Subject, judged: Judged) -> Threshold:
    value = fit_threshold(subject.sample(judged.distances), Objective())
    return Threshold(value=value, origin="fitted on these very pairs, to draw pictures by")


def _floors(
    vectors: npt.NDArray[np.floating],
    subject: Subject,
    judged: Judged,
    floor_vectors: FloorVectors | None,
) -> tuple[list[Contender], list[str]]:
    """Judge the floors; where their tiles are out of reach, say so."""
    floors, warnings = [], []
    if floor_vectors is not None:
        try:
            floors = compare_with_floors(vectors, subject, floor_vectors)
        except HistoIndexError as error:
            _log.warning("%s", error)
            warnings = [f"{COLOUR} and {RANDOM} are left out: a tile is missing; pass --tiles DIR"]
    return [*floors, majority(subject, judged)], warnings


def _leakage(
    index: OpenIndex,
    vectors: npt.NDArray[np.float16],
    subject: Subject,
    threshold: Threshold,
) -> Leakage:
    digests = index.rows["sha256"].take(pa.array(subject.rows)).to_pylist()
    queries = np.arange(len(subject.rows))
    if len(queries) > _MOST_SEARCHED:
        generator = np.random.default_rng(0)
        queries = np.sort(generator.choice(queries, _MOST_SEARCHED, replace=False))
    fitted_on = None
    if threshold.calibration is not None and threshold.calibration.contents is not None:
        known = set(threshold.calibration.contents)
        fitted_on = np.flatnonzero([digest[:CONTENT_DIGITS] in known for digest in digests])
    return find_leakage(
        vectors,
        digests,
        subject.groups,
        ranking=rank_others(vectors, subject.groups, queries),
        limit=near_limit(index),
        fitted_on=fitted_on,
    )


def _warnings(subject: Subject, threshold: Threshold, leakage: Leakage) -> list[str]:
    found = []
    if subject.problems:
        found.append(f"{counted(len(subject.problems), 'row')} could not be used")
    if not subject.has_groups:
        found.append(
            "no groups: tiles of one slide or patient count as strangers, which flatters every "
            "figure; pass --group COLUMN"
        )
    if threshold.value is None:
        found.append("no threshold: run `histo-index calibrate`, or pass --threshold")
    if leakage.identical or leakage.near:
        found.append(
            f"{counted(leakage.identical, 'identical pair')} and "
            f"{counted(leakage.near, 'nearly identical pair')} of tiles lie across "
            f"{'groups' if subject.has_groups else 'names'}"
        )
    shared = (leakage.shared_tiles or 0) + leakage.calibration_twins
    if shared and threshold.calibration is not None:
        found.append(
            f"{shared:,} of {len(subject.rows):,} tiles are, or nearly are, tiles that the "
            "calibration was fitted on: its accuracy and probabilities look better than they are"
        )
    return found


def _provenance(index: OpenIndex, subject: Subject, threshold: Threshold) -> dict[str, Any]:
    manifest = index.manifest
    calibration = threshold.calibration
    left_out = ("curve", "histogram", "contents")
    return {
        "encoder": asdict(manifest.encoder),
        "index": {
            "name": index.folder.name,
            "generation": manifest.generation,
            "created": manifest.created,
            "tiles": manifest.tiles,
            "libraries": dict(manifest.libraries),
        },
        "data": {"labels": subject.labels_from, "pairs": subject.pairs_from},
        "calibration": None
        if calibration is None
        else {k: v for k, v in calibration.as_dict().items() if k not in left_out},
    }
