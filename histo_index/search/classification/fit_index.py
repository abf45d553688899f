"""Fit the class model of an index to its labelled tiles."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from histo_index.arrays import Float32, Int64
from histo_index.indexer.private import private_among
from histo_index.indexer.reader import OpenIndex
from histo_index.search.classification.fit import equal_weights, fit_classes
from histo_index.search.classification.held_out import held_out_distances
from histo_index.search.classification.kernel import Gallery
from histo_index.search.classification.model import DIGITS, ClassModel, Novelty, name_digest
from histo_index.search.inputs.labelled_pairs import LabelledPairs
from histo_index.wording import counted

# Tiles that queries are compared with, and tiles it is fitted to: random ones of more.
_MOST_TILES: Final = 10_000
_MOST_QUERIES: Final = 2_000
FEWEST_GROUPS: Final = 4
# Groups of a class, so that one of them can be left out.
FEWEST_OF_CLASS: Final = 2
# Enough to see to within a hundredth how much of an index has changed.
_LIVE_SAMPLE: Final = 2_000
_FALSE_ALARMS: Final = 0.05


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Labelled tiles of an index and how far they are from those of other groups.

    Attributes:
        rows: int64 [L], their rows.
        gallery: their classes and groups.
        names: the classes.
        unscored: classes of one group only.
        queries: int64 [Q], positions of the queries among the tiles.
        distances: float32 [Q, L]; infinite where a tile was held out with the query.
    """

    rows: Int64
    gallery: Gallery
    names: list[str]
    unscored: list[str]
    queries: Int64
    distances: Float32

    @property
    def classes(self) -> Int64:
        """Class of each query, int64 [Q]."""
        return self.gallery.classes[self.queries]

    @property
    def groups(self) -> Int64:
        """Group of each query, int64 [Q]."""
        return self.gallery.groups[self.queries]


def hold_out(index: OpenIndex, dataset: LabelledPairs) -> HeldOut | str:
    """Compare labelled tiles with those of other groups, which the distances have not seen.

    Args:
        index: holds the tiles.
        dataset: their classes and groups.

    Returns:
        The tiles and distances, or why there are too few.
    """
    places = dataset.labelled
    counts = _groups_by_class(dataset)
    scored = np.flatnonzero(counts >= FEWEST_OF_CLASS)
    unscored = [dataset.classes[code] for code in np.flatnonzero(counts == 1).tolist()]
    places = places[np.isin(dataset.labels[places], scored)]
    number = len(np.unique(dataset.groups[places]))
    if len(scored) < 2 or number < FEWEST_GROUPS:
        return (
            f"{len(scored)} classes with tiles of two groups, and "
            f"{counted(number, 'group')}; expected at least 2 and {FEWEST_GROUPS}: label more"
        )
    places = _draw(places, _MOST_TILES)
    gallery = Gallery(
        np.searchsorted(scored, dataset.labels[places]), dataset.groups[places], len(scored)
    )
    queries = _draw(np.arange(len(places)), _MOST_QUERIES)
    rows = dataset.rows[places]
    return HeldOut(
        rows=rows,
        gallery=gallery,
        names=[dataset.classes[code] for code in scored.tolist()],
        unscored=unscored,
        queries=queries,
        distances=held_out_distances(index, rows, gallery, queries, names=dataset.group_names),
    )


def fit_class_model(index: OpenIndex, dataset: LabelledPairs) -> ClassModel | str:
    """Fit the class model of an index.

    Args:
        index: the index.
        dataset: classes and groups of its tiles.

    Returns:
        The model, or why there is none.
    """
    if dataset.label_column and private_among(
        [dataset.label_column], index.manifest.private_columns
    ):
        return "the column of classes is private, and every user of the index would see them"
    held = hold_out(index, dataset)
    if isinstance(held, str):
        return held
    fitted = fit_classes(held.gallery, held.distances, held.classes, held.groups)
    covariance = None if fitted.covariance is None else fitted.covariance.tolist()
    starts = _starts(index)
    return ClassModel(
        names=held.names,
        unscored=held.unscored,
        reach=fitted.reach,
        smoothing=fitted.smoothing,
        scale=fitted.scale,
        priors=fitted.priors.tolist(),
        parameters=fitted.parameters.tolist(),
        covariance=covariance,
        groups=fitted.groups,
        loss=fitted.loss,
        novelty=find_novelty(held),
        group_column=dataset.group_column,
        file_group=dataset.file_group,
        group_digests="".join(map(name_digest, dataset.group_names)) if dataset.file_group else "",
        label_column=dataset.label_column,
        contents="".join(starts.take(pa.array(held.rows)).to_pylist()),
        tile_classes=held.gallery.classes.tolist(),
        tile_groups=held.gallery.groups.tolist(),
        live=live_sample(index),
    )


def find_novelty(held: HeldOut) -> Novelty:
    """Choose the distance beyond which a tile is novel, at 5 % false alarms, and test it."""
    weights = equal_weights(held.groups)
    nearest = held.distances.min(axis=1)
    order = np.argsort(nearest)
    position = np.searchsorted(np.cumsum(weights[order]), 1 - _FALSE_ALARMS)
    limit = float(nearest[order[min(int(position), len(order) - 1)]])
    shares = []
    for code in range(held.gallery.count):
        others = held.gallery.classes != code
        is_class = held.classes == code
        gaps = held.distances[is_class][:, others].min(axis=1)
        shares.append(float((gaps > limit) @ equal_weights(held.groups[is_class])))
    return Novelty(distance=limit, detected=float(np.mean(shares)))


def live_sample(index: OpenIndex) -> str:
    """Join the lowest hashes among the live tiles: a sample that depends on nothing else."""
    starts = _starts(index).take(pa.array(index.live_rows())).unique()
    order = pc.select_k_unstable(
        pa.table({"start": starts}), k=_LIVE_SAMPLE, sort_keys=[("start", "ascending")]
    )
    return "".join(starts.take(order).to_pylist())


def _starts(index: OpenIndex) -> pa.Array:
    starts = pc.utf8_slice_codeunits(index.rows["sha256"], 0, DIGITS)
    return starts.combine_chunks() if isinstance(starts, pa.ChunkedArray) else starts


def _groups_by_class(dataset: LabelledPairs) -> Int64:
    """Count the groups of each class, int64 [C]."""
    places = dataset.labelled
    cells = np.unique(np.stack([dataset.labels[places], dataset.groups[places]]), axis=1)
    return np.bincount(cells[0], minlength=len(dataset.classes))


def _draw(places: Int64, most: int) -> Int64:
    if len(places) <= most:
        return places
    return np.sort(np.random.default_rng(0).choice(places, most, replace=False))
