"""Find the nearest tiles of each query, with verdicts and class probabilities."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from histo_index.errors import HistoIndexError, InputError
from histo_index.indexer.reader import OpenIndex
from histo_index.search.answers.neighbours import (
    Answered,
    Nearest,
    Neighbour,
    add_verdicts,
    neighbours_of,
)
from histo_index.search.calibration.threshold import Threshold
from histo_index.search.classification.answer import ClassAnswer, Classifier
from histo_index.search.copies.tile_files import TileFiles
from histo_index.search.inputs.resolve import Located
from histo_index.search.neighbours.conditions import Condition
from histo_index.search.neighbours.exclusion import exclusion_problem, find_column
from histo_index.search.neighbours.filters import Filters
from histo_index.search.neighbours.nearest import Found, nearest_rows
from histo_index.search.neighbours.novelty import far_among
from histo_index.wording import counted, printable

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """How to search.

    Attributes:
        k: neighbours of each query; fewer if fewer tiles match.
        exclude_self: leave out the query itself where it is in the index.
        where: an SQL expression over the index's columns; only tiles that match are returned.
        exclude_same: columns; tiles with the query's value, or none, are left out.
        near_duplicates: `keep`, or `drop` copies of the query and all but one of other copies.
        values: column to value, as text, of queries that are not in the index.
        conditions: further ones that returned tiles fulfil; they are no SQL.
    """

    k: int = 10
    exclude_self: bool = True
    where: str | None = None
    exclude_same: str | Sequence[str] = ()
    near_duplicates: str = "keep"
    values: Mapping[str, str] = field(default_factory=dict)
    conditions: Sequence[Condition] = ()

    def __post_init__(self) -> None:
        if self.near_duplicates not in ("keep", "drop"):
            raise InputError(
                f"--near-duplicates {printable(self.near_duplicates)}: expected keep or drop"
            )


def search(
    index: OpenIndex,
    located: Sequence[Located | HistoIndexError],
    threshold: Threshold,
    options: SearchOptions,
    *,
    files: TileFiles | None = None,
    classifier: Classifier | None = None,
) -> list[Answered]:
    """Find the nearest tiles of images; an error of one image leaves the others unaffected.

    Args:
        index: the index.
        located: the images with their vectors, or why one has none.
        threshold: decides the verdicts.
        options: how to search.
        files: the tile files, to confirm copies; None goes by distance alone.
        classifier: the class model of the index; without it there are no probabilities.

    Returns:
        For each image its neighbours, or the reason that it has none.

    Raises:
        InputError: k is not positive, or a filter does not fit the index.
        IndexFormatError: a part of the index that is needed is damaged.
    """
    same = options.exclude_same
    filters = Filters(
        where=options.where,
        exclude_same=[same] if isinstance(same, str) else same,
        hidden=index.hidden,
        values=options.values,
        conditions=options.conditions,
    )
    for name in options.values:
        find_column(index.rows, name, index.hidden, option="--value")
    asked = [
        one
        if isinstance(one, HistoIndexError)
        else exclusion_problem(index.rows, filters, one.row, one.name) or one
        for one in located
    ]
    usable = [one for one in asked if isinstance(one, Located)]
    rows = _find_rows(index, usable, filters, options, files)
    near = _with_verdicts(index, usable, rows, threshold, k=options.k)
    if classifier is None:
        found = iter([Nearest(neighbours) for neighbours in near])
    else:
        answers = classifier.classify(usable, options.values)
        has_chances = options.where is None and not options.conditions
        found = iter(
            [
                _with_classes(neighbours, row, classifier, answer, has_chances=has_chances)
                for neighbours, row, answer in zip(near, rows.rows.tolist(), answers, strict=True)
            ]
        )
    return [one if isinstance(one, HistoIndexError) else next(found) for one in asked]


def _find_rows(
    index: OpenIndex,
    located: Sequence[Located],
    filters: Filters,
    options: SearchOptions,
    files: TileFiles | None,
) -> Found:
    """Find the nearest tiles of images whose vectors are known."""
    if not located:
        return Found(rows=np.empty((0, 0), np.int64), distances=np.empty((0, 0), np.float32))
    if options.near_duplicates == "drop":
        # Imported here: it brings the Parquet reader.
        from histo_index.search.copies.without import nearest_without_copies

        return nearest_without_copies(index, located, k=options.k, filters=filters, files=files)
    return nearest_rows(
        index,
        np.stack([image.vector for image in located]),
        k=options.k,
        own_rows=[image.row for image in located],
        exclude_self=options.exclude_self,
        filters=filters,
    )


def _with_verdicts(
    index: OpenIndex, located: Sequence[Located], rows: Found, threshold: Threshold, *, k: int
) -> list[list[Neighbour]]:
    """Build the neighbours of each image, with verdicts where there is a threshold."""
    found = neighbours_of(index, rows)
    fewest = min(map(len, found), default=0)
    if 0 < fewest < k:
        _log.warning("k is %d but only %s can be returned", k, counted(fewest, "tile"))
    far = {image.name for image in far_among(index, located, threshold.far_distance)}
    pairs = zip(found, located, strict=True)
    return [add_verdicts(row, threshold, is_far=image.name in far) for row, image in pairs]


def _with_classes(
    found: Sequence[Neighbour],
    rows: Sequence[int],
    classifier: Classifier,
    answer: ClassAnswer,
    *,
    has_chances: bool,
) -> Nearest:
    """Add class and probability to the neighbours of a query, and its classes.

    A tile of the query's own group has no probability: the model is about other groups.
    """
    shown = []
    for neighbour, row in zip(found, rows, strict=False):
        label = classifier.label_of(row, neighbour.metadata)
        chance = None if label is None or row in answer.own_rows else answer.chance_of(label)
        known = replace(neighbour, label=label)
        if chance is not None and has_chances:
            known = replace(
                known,
                probability=chance.probability,
                probability_low=chance.low,
                probability_high=chance.high,
            )
        shown.append(known)
    return Nearest(shown, classes=answer)


def require_answers(found: Sequence[Answered]) -> list[Nearest]:
    """Return the neighbours of every query.

    Raises:
        HistoIndexError: the first error among the answers.
    """
    for answer in found:
        if isinstance(answer, HistoIndexError):
            raise answer
    return [answer for answer in found if not isinstance(answer, HistoIndexError)]
