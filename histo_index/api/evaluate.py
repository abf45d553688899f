"""Calibrate and evaluate an index: read the labels, make the floors, hand over to `search/`.

`Index.calibrate` and `Index.evaluate` call these.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from histo_index.errors import InputError
from histo_index.indexer.reader import OpenIndex
from histo_index.indexer.transform.diffusion import fit_diffusion
from histo_index.indexer.transform.transform import FEWEST_TILES, distinct
from histo_index.search.calibration.calibrate import calibrate as fit_calibration
from histo_index.search.calibration.calibration import Calibration, store_calibration
from histo_index.search.calibration.objectives import Objective
from histo_index.search.calibration.otsu import guess
from histo_index.search.calibration.threshold import Threshold
from histo_index.search.evaluation.baselines import COLOUR, RANDOM
from histo_index.search.evaluation.evaluate import FloorVectors
from histo_index.search.evaluation.evaluate import evaluate as judge_index
from histo_index.search.evaluation.result import Evaluation
from histo_index.search.inputs.labelled_pairs import Subject, make_subject
from histo_index.search.inputs.labels import read_labels
from histo_index.search.inputs.pair_list import PairList, list_pairs, read_pair_list
from histo_index.wording import counted

# A pair-list file, `-`, or rows of two names and a label.
Pairs = str | Path | Iterable[Sequence[Any]]
# More lines than this about rows that cannot be used are counted, not told.
_MOST_TOLD: Final = 20

_log = logging.getLogger(__name__)


def calibrate(
    index: OpenIndex,
    *,
    pairs: Pairs | None = None,
    labels: str | Path | None = None,
    label: str | None = None,
    group: str | None = None,
    objective: Objective | None = None,
    unsure: bool = False,
    unlabelled: bool = False,
) -> Calibration:
    """Fit threshold and probabilities to labelled tiles of an index, and store them in it.

    Args:
        index: what is calibrated.
        pairs: labelled pairs.
        labels: without pairs: a label file, or a column of the index, to draw pairs from.
        label: column of the label file that holds the class; left out, `label`.
        group: column that holds what must not be matched with itself; left out, `group`.
        objective: what the threshold is to be best at; left out, accuracy.
        unsure: whether verdicts may be unsure unless the user says otherwise.
        unlabelled: guess the threshold without any label, which is weaker; no probabilities.

    Returns:
        What was found; `warnings` says what makes it doubtful. Rows that cannot be used are logged.

    Raises:
        InputError: the labels cannot be used, or tell nothing.
        LockedError: another process is writing the index.
        IndexFormatError: a part of the index that is needed is damaged.
    """
    if pairs is not None and labels is not None:
        raise InputError("both pairs and labels; calibrate on one of them")
    if unlabelled:
        if (pairs, labels, objective or Objective()) != (None, None, Objective()):
            raise InputError("without labels there is nothing to choose by; leave out the others")
        found = replace(guess(index, group=group), answers_unsure=unsure)
        store_calibration(index.folder, found)
        return found
    subject = read_subject(index, pairs=pairs, labels=labels, label=label, group=group)
    found = fit_calibration(
        index, subject, objective or Objective(), answers_unsure=unsure, group=group
    )
    _tell([*subject.problems[:_MOST_TOLD], *_untold(subject)])
    store_calibration(index.folder, found)
    return found


def evaluate(
    index: OpenIndex,
    threshold: Threshold,
    *,
    labels: str | Path | None = None,
    pairs: Pairs | None = None,
    label: str | None = None,
    group: str | None = None,
    tiles: Path | None = None,
    device: str = "auto",
) -> Evaluation:
    """Judge an index on labelled tiles, beside colour, random weights and the majority.

    Args:
        index: what is judged.
        threshold: what its verdicts rest on.
        labels: a label file, or a column of the index; left out, without pairs, column `label`.
        pairs: labelled pairs; left out, they are drawn from the classes, across groups.
        label: column of the label file that holds the class; left out, `label`.
        group: column that holds what must not be matched with itself; left out, `group`.
        tiles: where the tiles lie now; left out, where they lay relative to the index.
        device: where the floors are made.

    Raises:
        InputError: the labels cannot be used, or tell nothing.
        IndexFormatError: a part of the index that is needed is damaged.
    """
    subject = read_subject(index, pairs=pairs, labels=labels, label=label, group=group)
    _tell([*subject.problems[:_MOST_TOLD], *_untold(subject)])
    root = tiles or index.manifest.tiles_root(index.folder)
    floors = _floor_vectors(index, root, device)
    return judge_index(index, subject, threshold, floor_vectors=floors)


def read_subject(
    index: OpenIndex,
    *,
    pairs: Pairs | None,
    labels: str | Path | None,
    label: str | None,
    group: str | None,
) -> Subject:
    """Read labels and pairs; without either, the index's own column of labels."""
    wanted = labels is not None or pairs is None
    known = read_labels(index, labels, label=label, group=group) if wanted else None
    if pairs is None:
        return make_subject(index, known, None, group=group)
    name = "the pairs" if not isinstance(pairs, str | Path) else Path(pairs).name
    name = "standard input" if name == "-" else name
    return make_subject(index, known, _read_pairs(index, pairs), pairs_name=name, group=group)


def _read_pairs(index: OpenIndex, pairs: Pairs) -> PairList:
    if not isinstance(pairs, str | Path):
        return list_pairs([[*row] for row in pairs])

    def are_indexed(names: Sequence[str]) -> list[bool]:
        return [row >= 0 for row in index.find_names(pa.array(names, pa.string())).tolist()]

    return read_pair_list(None if str(pairs) == "-" else Path(pairs), [are_indexed])


def _floor_vectors(index: OpenIndex, root: Path, device: str) -> FloorVectors:
    def vectors(rows: npt.NDArray[np.int64]) -> Mapping[str, npt.NDArray[np.floating]]:
        # Imported here: it brings torch, and comes last.
        from histo_index.encoder.baselines import floor_vectors

        is_fitted = index.transform is not None
        wanted = _enough_to_fit(index, rows, root) if is_fitted else rows
        paths = index.rows["path"].take(pa.array(wanted)).to_pylist()
        colours, randoms = floor_vectors(
            index.folder / "encoder", [root / path for path in paths], device=device
        )
        if is_fitted:
            # As the index's own: else it would be ahead by the distance, and not by its encoder.
            randoms = fit_diffusion(distinct(randoms)).apply(randoms)
        return {COLOUR: colours[: len(rows)], RANDOM: randoms[: len(rows)]}

    return vectors


def _enough_to_fit(
    index: OpenIndex, rows: npt.NDArray[np.int64], root: Path
) -> npt.NDArray[np.int64]:
    """Put other tiles, drawn by lot, after those that are too few to fit distances on.

    Nobody asked for them to be there: those that are gone are passed over.
    """
    others = np.random.default_rng(0).permutation(np.setdiff1d(index.live_rows(), rows))
    there = (row for row in others.tolist() if (root / index.row(row)["path"]).is_file())
    drawn = list(islice(there, max(FEWEST_TILES - len(rows), 0)))
    return np.append(rows, np.array(drawn, np.int64))


def _untold(subject: Subject) -> list[str]:
    more = len(subject.problems) - _MOST_TOLD
    return [f"{counted(more, 'more row')} that cannot be used"] if more > 0 else []


def _tell(lines: Iterable[str]) -> None:
    for line in lines:
        _log.warning("%s", line)
