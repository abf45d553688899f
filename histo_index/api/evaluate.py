"""Calibrate and evaluate an index: read the labels, compute the baselines, call `search/`.

`Index.calibrate` and `Index.evaluate` call these.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import pyarrow as pa

from histo_index.api.answers.pictures import tiles_folder
from histo_index.api.encoders import no_encoder
from histo_index.api.evaluation.baselines import compute_baselines
from histo_index.api.scale.known import index_scale, rows_scale
from histo_index.api.scale.queries import QueryScales, ScaleJudge
from histo_index.api.tile_files import tile_files
from histo_index.errors import HistoIndexError, InputError
from histo_index.indexer.reader import OpenIndex
from histo_index.search.calibration.calibrate import calibrate as fit_calibration
from histo_index.search.calibration.calibration import Calibration, store_calibration
from histo_index.search.calibration.objectives import Objective
from histo_index.search.calibration.otsu import guess
from histo_index.search.calibration.threshold import Threshold
from histo_index.search.evaluation.baselines import COLOUR, RANDOM
from histo_index.search.evaluation.evaluate import evaluate as evaluate_index
from histo_index.search.evaluation.result import Evaluation
from histo_index.search.inputs.labelled_pairs import LabelledPairs, make_labelled_pairs
from histo_index.search.inputs.labels import read_labels
from histo_index.search.inputs.pair_list import PairList, PairsLike, read_pairs
from histo_index.wording import counted

# Tiles of the baselines: decoding and a ResNeXt-50 process 50 to 100 a second on two cores.
MAX_BASELINE_TILES: Final = 2_000
_NO_BASELINES: Final = f"{COLOUR} and {RANDOM} are left out: a tile is missing; pass --tiles DIR"
_NO_IMAGES: Final = f"{COLOUR} and {RANDOM} are left out: the index was made from embeddings"
# Further rows that cannot be used are counted.
_MAX_LOGGED: Final = 20

# Which marked pairs are read.
ALL: Final = "all"
ONLY_RANDOM: Final = "only random"

_log = logging.getLogger(__name__)


def calibrate(
    index: OpenIndex,
    *,
    pairs: "PairsLike | None" = None,
    labels: str | Path | None = None,
    label: str | None = None,
    group: str | None = None,
    objective: Objective | None = None,
    unsure: bool = False,
    unlabelled: bool = False,
    marks: bool = False,
) -> Calibration:
    """Fit threshold and probabilities to labelled tiles of an index, and store them in it.

    Args:
        index: what is calibrated.
        pairs: labelled pairs.
        labels: without pairs: a label file, or a column of the index, to draw pairs from.
        label: column of the label file with the class; default `label`.
        group: column that holds what must not be matched with itself; left out, `group`.
        objective: what the threshold is to be best at; left out, accuracy.
        unsure: whether verdicts may be unsure unless the user says otherwise.
        unlabelled: guess the threshold without any label, which is weaker; no probabilities.
        marks: use the pairs that were marked on the page of the server.

    Returns:
        The calibration, with its warnings. Rows that cannot be used are logged.

    Raises:
        InputError: the labels cannot be used, or same pairs are not nearer than different ones.
        LockedError: another process is writing the index.
        IndexFormatError: a part of the index that is needed is damaged.
    """
    if pairs is not None and labels is not None:
        raise InputError("both pairs and labels; calibrate on one of them")
    if unlabelled:
        if (pairs, labels, objective or Objective()) != (None, None, Objective()):
            raise InputError("without labels there is nothing to choose by; leave out the others")
        scale = index_scale(index)
        found = replace(guess(index, group=group), answers_unsure=unsure, scale=scale)
        store_calibration(index.folder, found)
        return found
    dataset = read_labelled_pairs(
        index, pairs=pairs, labels=labels, label=label, group=group, marks=ALL if marks else None
    )
    found = fit_calibration(
        index, dataset, objective or Objective(), answers_unsure=unsure, group=group
    )
    found = replace(found, scale=rows_scale(index, dataset.rows))
    _log_problems(dataset)
    store_calibration(index.folder, found)
    return found


def evaluate(
    index: OpenIndex,
    threshold: Threshold,
    *,
    labels: str | Path | None = None,
    pairs: "PairsLike | None" = None,
    label: str | None = None,
    group: str | None = None,
    tiles: Path | None = None,
    device: str = "auto",
    marks: bool = False,
    any_mpp: bool = False,
) -> Evaluation:
    """Evaluate an index on labelled tiles and compare it with the baselines.

    Args:
        index: the index to evaluate.
        threshold: decides the verdicts.
        labels: a label file, or a column of the index; default without pairs: column `label`.
        pairs: labelled pairs; default: drawn from the classes, across groups.
        label: column of the label file with the class; default `label`.
        group: column of patient or slide ids; default `group`.
        tiles: root folder of the tile files; default: as recorded in the index.
        device: where the baselines are computed: `auto`, `cpu` or `cuda`.
        marks: use the marked pairs that were drawn at random.
        any_mpp: also judge tiles whose scale differs from that of the calibration by more than 1.5.

    Raises:
        InputError: the labels cannot be used, or same pairs are not nearer than different ones.
        ImageError: a labelled tile is of quite another scale than the calibration.
        IndexFormatError: a part of the index that is needed is damaged.
    """
    dataset = read_labelled_pairs(
        index, pairs=pairs, labels=labels, label=label, group=group,
        marks=ONLY_RANDOM if marks else None,
    )  # fmt: skip
    _log_problems(dataset)
    _check_scale(index, dataset, threshold, any_mpp=any_mpp)
    if no_encoder(index.folder, index.manifest):
        found = evaluate_index(index, dataset, threshold)
        return replace(found, warnings=[_NO_IMAGES, *found.warnings])
    subset = dataset.subsample(MAX_BASELINE_TILES)
    root, files = tiles_folder(index, tiles), tile_files(index, tiles)
    try:
        baselines = compute_baselines(index, subset, root, device=device)
    except HistoIndexError as error:
        _log.warning("%s", error)
        found = evaluate_index(index, dataset, threshold, files=files)
        return replace(found, warnings=[_NO_BASELINES, *found.warnings])
    return evaluate_index(
        index, dataset, threshold, subset=subset, baselines=baselines, files=files
    )


def _check_scale(
    index: OpenIndex, dataset: LabelledPairs, threshold: Threshold, *, any_mpp: bool
) -> None:
    scales = QueryScales(index, mpp=None, any_mpp=any_mpp)
    judge = ScaleJudge(scales, threshold.calibration)
    for refused in judge.check_rows(dataset.names, dataset.rows):
        if refused is not None:
            raise refused
    judge.log()


def read_labelled_pairs(
    index: OpenIndex,
    *,
    pairs: "PairsLike | None",
    labels: str | Path | None,
    label: str | None,
    group: str | None,
    marks: str | None = None,
) -> LabelledPairs:
    """Read labels and pairs; without either, the index's own column of labels; or marks."""
    if marks is not None:
        if (pairs, labels, label) != (None, None, None):
            raise InputError("both marks and other labels; pass one of them")
        from histo_index.search.marks.dataset import marked_pairs

        return marked_pairs(index, group=group, only_random=marks == ONLY_RANDOM)
    wanted = labels is not None or pairs is None
    known = read_labels(index, labels, label=label, group=group) if wanted else None
    if pairs is None:
        return make_labelled_pairs(index, known, None, group=group)
    name = "the pairs" if not isinstance(pairs, str | Path) else Path(pairs).name
    name = "standard input" if name == "-" else name
    return make_labelled_pairs(
        index, known, _read_pairs(index, pairs), pairs_name=name, group=group
    )


def _read_pairs(index: OpenIndex, pairs: PairsLike) -> PairList:
    def are_indexed(names: Sequence[str]) -> list[bool]:
        return [row >= 0 for row in index.find_names(pa.array(names, pa.string())).tolist()]

    return read_pairs(pairs, [are_indexed])


def _log_problems(dataset: LabelledPairs) -> None:
    for problem in dataset.problems[:_MAX_LOGGED]:
        _log.warning("%s", problem)
    more = len(dataset.problems) - _MAX_LOGGED
    if more > 0:
        _log.warning("%s that cannot be used", counted(more, "more row"))
