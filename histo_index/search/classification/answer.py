"""What class is a tile: the answer of the class model to a query."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from histo_index.arrays import Bools, Float16
from histo_index.errors import HistoIndexError, InputError
from histo_index.indexer.reader import OpenIndex
from histo_index.search.classification.fit_index import FEWEST_OF_CLASS, live_sample
from histo_index.search.classification.held_out import squared_distances
from histo_index.search.classification.intervals import Chances, chances
from histo_index.search.classification.kernel import Gallery
from histo_index.search.classification.model import DIGITS, ClassModel, name_digest, split_digests
from histo_index.search.inputs.resolve import Located
from histo_index.search.neighbours.exclusion import find_column

# Share of the live tiles that may have changed since the model was fitted.
MOST_CHANGED: Final = 0.2
# Queries at a time: 512 x 10,000 distances are 20 MB.
_BLOCK: Final = 512
_UNKNOWN: Final = -1
_HIDDEN_GROUP: Final = "the column of groups is private; pass --private to use it"


@dataclass(frozen=True, kw_only=True)
class ClassChance:
    """A class and how likely a tile is of it.

    Attributes:
        label: the class.
        probability: 0…1.
        low: lower end of the 95 % interval; None with fewer than ten groups.
        high: upper end.
    """

    label: str
    probability: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class ClassAnswer:
    """The classes of a query.

    Attributes:
        chances: every class that is scored, the likeliest first; empty without an answer.
        unscored: classes of one labelled group only, which have no probability.
        is_novel: whether the tile is unlike everything labelled here.
        detected: share of tiles of a missing class that `is_novel` finds, at 5 % false alarms.
        problem: why there are no probabilities; None if there are.
        own_rows: rows of labelled tiles of the query's own group.
    """

    chances: Sequence[ClassChance] = ()
    unscored: Sequence[str] = ()
    is_novel: bool = False
    detected: float | None = None
    problem: str | None = None
    own_rows: frozenset[int] = field(default_factory=frozenset, repr=False)

    @property
    def label(self) -> str | None:
        """The likeliest class."""
        return self.chances[0].label if self.chances else None

    @property
    def probability(self) -> float | None:
        """The probability of the likeliest class."""
        return self.chances[0].probability if self.chances else None

    def chance_of(self, label: str) -> ClassChance | None:
        """Return the chance of a class; None if it has none."""
        return next((chance for chance in self.chances if chance.label == label), None)


class Classifier:
    """The class model of an open index, with its labelled tiles found."""

    def __init__(self, index: OpenIndex, model: ClassModel) -> None:
        """Find the labelled tiles that are still in the index.

        Args:
            index: the index.
            model: fitted to it.
        """
        self._index = index
        self._model = model
        starts = pc.utf8_slice_codeunits(index.rows["sha256"], 0, DIGITS)
        found = pc.index_in(pa.array(split_digests(model.contents)), value_set=starts)
        rows = pc.fill_null(found, _UNKNOWN).to_numpy(zero_copy_only=False).astype(np.int64)
        is_there = rows >= 0
        if index.is_live is not None:
            is_there &= index.is_live[rows]
        self._rows = rows[is_there]
        classes, groups = np.array(model.tile_classes), np.array(model.tile_groups)
        self._gallery = Gallery(classes[is_there], groups[is_there], len(model.names))
        self._labels = dict(zip(self._rows.tolist(), self._gallery.classes.tolist(), strict=True))
        self._group_digests = np.array(split_digests(model.group_digests), str)
        self._problem = _staleness(index, model) or _missing_class(self._gallery, model.names)

    def label_of(self, row: int, metadata: Mapping[str, object]) -> str | None:
        """Return the class of a tile of the index, if it is labelled.

        Args:
            row: the tile.
            metadata: its columns, used for tiles beyond those that the model keeps.
        """
        if row in self._labels:
            return self._model.names[self._labels[row]]
        value = metadata.get(self._model.label_column or "")
        return None if value is None else str(value)

    def classify(
        self, located: Sequence[Located], values: Mapping[str, str] | None = None
    ) -> list[ClassAnswer]:
        """Compute the class probabilities of some images.

        Args:
            located: the images with their vectors.
            values: column to value of images that are not in the index; the column of groups may
                be that of the label file.

        Returns:
            An answer for each image.

        Raises:
            InputError: a column of the values is not there, or private.
        """
        for name in values or {}:
            if name != self._model.file_group:
                find_column(self._index.rows, name, self._index.hidden, option="--value")
        if self._problem is not None:
            return [ClassAnswer(problem=self._problem) for _ in located]
        answers: list[ClassAnswer] = []
        for start in range(0, len(located), _BLOCK):
            block = located[start : start + _BLOCK]
            is_own = np.stack([self._find_own(image, values or {}) for image in block])
            found = self._answer(np.stack([image.vector for image in block]), is_own)
            answers += [
                ClassAnswer(problem=_HIDDEN_GROUP) if self._has_hidden_group(image) else answer
                for image, answer in zip(block, found, strict=True)
            ]
        return answers

    def _has_hidden_group(self, image: Located) -> bool:
        """Return whether the group of an indexed image is known, but private here."""
        is_hidden = self._model.group_column in self._index.hidden
        return is_hidden and image.row is not None and image.row not in self._labels

    def _answer(self, vectors: Float16, is_own: Bools) -> list[ClassAnswer]:
        distances = squared_distances(vectors, self._index.vectors(self._rows))
        distances[is_own] = np.inf
        fitted, novelty = self._model.fitted, self._model.novelty
        found = chances(fitted, fitted.evidence(self._gallery, distances))
        is_novel = distances.min(axis=1) > novelty.distance
        return [
            ClassAnswer(
                chances=self._ranked(found, query),
                unscored=self._model.unscored,
                is_novel=bool(is_novel[query]),
                detected=novelty.detected,
                own_rows=frozenset(self._rows[is_own[query]].tolist()),
            )
            for query in range(len(vectors))
        ]

    def _ranked(self, found: Chances, query: int) -> list[ClassChance]:
        order = np.argsort(-found.values[query], kind="stable").tolist()
        ends = [found.lows[query], found.highs[query]]
        return [
            ClassChance(
                label=self._model.names[code],
                probability=float(found.values[query, code]),
                low=float(ends[0][code]) if np.isfinite(ends[0][code]) else None,
                high=float(ends[1][code]) if np.isfinite(ends[1][code]) else None,
            )
            for code in order
        ]

    def _find_own(self, image: Located, values: Mapping[str, str]) -> Bools:
        """Flag the labelled tiles of an image's own group, bool [L]."""
        is_own = np.zeros(len(self._rows), bool)
        if image.row is not None:
            is_own |= self._rows == image.row
            for code in self._gallery.groups[is_own].tolist():
                is_own |= self._gallery.groups == code
        named = values.get(self._model.file_group or "")
        if image.row is None and named is not None:
            numbers = np.flatnonzero(self._group_digests == name_digest(named))
            is_own |= np.isin(self._gallery.groups, numbers)
        column = self._model.group_column
        if column is None or column not in self._index.rows.column_names:
            return is_own
        cells = self._index.rows[column]
        own = cells[image.row].as_py() if image.row is not None else values.get(column)
        if own is not None:
            is_own |= self._values_of_groups == str(own)
        return is_own

    @cached_property
    def _values_of_groups(self) -> "np.typing.NDArray[np.object_]":
        """The cell of each labelled tile in the column of groups, as text: object [L]."""
        cells = self._index.rows[self._model.group_column].take(pa.array(self._rows))
        return np.array([str(value) for value in cells.to_pylist()], object)


def classify_each(
    classifier: Classifier | None,
    located: Sequence[Located | HistoIndexError],
    values: Mapping[str, str],
) -> list[ClassAnswer | HistoIndexError]:
    """Classify images; an error of one image leaves the others unaffected.

    Args:
        classifier: the class model of the index; None if it has none.
        located: the images with their vectors, or why one has none.
        values: column to value of images that are not in the index.

    Raises:
        InputError: there is no class model.
    """
    if classifier is None:
        raise InputError(
            "the index has no class model: run `histo-index calibrate --labels COLUMN`, with tiles "
            "of two classes or more from at least four groups"
        )
    usable = [one for one in located if isinstance(one, Located)]
    found = iter(classifier.classify(usable, values))
    return [one if isinstance(one, HistoIndexError) else next(found) for one in located]


def _missing_class(gallery: Gallery, names: Sequence[str]) -> str | None:
    """Return which class has lost its tiles; None if all are there.

    A tile of such a class would be given to the others.
    """
    cells = np.unique(np.stack([gallery.classes, gallery.groups]), axis=1)[0]
    missing = np.flatnonzero(np.bincount(cells, minlength=len(names)) < FEWEST_OF_CLASS)
    if not len(missing):
        return None
    return (
        f"{', '.join(names[code] for code in missing.tolist())}: labelled tiles of fewer than "
        f"{FEWEST_OF_CLASS} groups are left since the calibration; run `histo-index calibrate` "
        "again"
    )


def _staleness(index: OpenIndex, model: ClassModel) -> str | None:
    """Return why the model no longer fits the index; None if it does."""
    before, after = set(split_digests(model.live)), set(split_digests(live_sample(index)))
    changed = 1 - len(before & after) / max(len(before | after), 1)
    if changed <= MOST_CHANGED:
        return None
    return (
        f"about {100 * changed:.0f} % of the tiles were added or removed since the calibration; "
        "run `histo-index calibrate` again"
    )
