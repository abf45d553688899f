"""Ask an open index what looks like some images, and show it.

`Index.search_each` and the command `search` call these.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from histo_index.errors import HistoIndexError, counted
from histo_index.search.answers import Located
from histo_index.search.filtering import Filters, exclusion_problem
from histo_index.search.neighbours import Answered, Neighbour, judged, neighbours_of
from histo_index.search.ranking import nearest_rows
from histo_index.search.strangers import far_among

if TYPE_CHECKING:
    from histo_index.api import ImageLike, Index

_log = logging.getLogger(__name__)


def search_each(
    index: "Index",
    images: "Sequence[ImageLike]",
    *,
    k: int = 10,
    exclude_self: bool = True,
    where: str | None = None,
    exclude_same: str | Sequence[str] = (),
    near_duplicates: str = "keep",
) -> list[Answered]:
    """Search as `Index.search` does; an image that cannot be asked for costs its own answer only.

    Returns:
        For each image its neighbours, or the reason that it has none.

    Raises:
        InputError: k is not positive, or a filter does not fit the index.
        IndexFormatError: a part of the index that is needed is damaged.
    """
    same = [exclude_same] if isinstance(exclude_same, str) else exclude_same
    filters = Filters(
        where=where,
        exclude_same=same,
        near_duplicates=near_duplicates,
        hidden=index.opened.hidden,
    )
    asked = [_askable(index, filters, one) for one in index.locate_each(images)]
    located = [one for one in asked if isinstance(one, Located)]
    found = iter(_find_neighbours(index, located, k=k, exclude_self=exclude_self, filters=filters))
    return [one if isinstance(one, HistoIndexError) else next(found) for one in asked]


def _askable(
    index: "Index", filters: Filters, one: Located | HistoIndexError
) -> Located | HistoIndexError:
    if isinstance(one, HistoIndexError):
        return one
    return exclusion_problem(index.opened.rows, filters, one.row, one.name) or one


def _find_neighbours(
    index: "Index", located: Sequence[Located], *, k: int, exclude_self: bool, filters: Filters
) -> list[list[Neighbour]]:
    """Find the nearest tiles of images whose vectors are known, with verdicts where calibrated."""
    if not located:
        return []
    queries = np.stack([image.vector for image in located])
    own = [image.row for image in located]
    rows = nearest_rows(
        index.opened, queries, k=k, own_rows=own, exclude_self=exclude_self, filters=filters
    )
    found = neighbours_of(index.opened, rows)
    fewest = min(map(len, found))
    if 0 < fewest < k:
        _log.warning(
            "k is %d but only %s can come back: fewer are given", k, counted(fewest, "tile")
        )
    threshold = index.threshold(is_decisive=False)
    far = {image.name for image in far_among(index.opened, located, threshold)}
    pairs = zip(found, located, strict=True)
    return [judged(row, threshold, is_far=image.name in far) for row, image in pairs]


def show(
    index: "Index",
    images: "Sequence[ImageLike]",
    found: Sequence[Sequence[Neighbour]],
    *,
    montage: Path | None,
    report: Path | None,
    tiles: Path | None,
    names: bool,
) -> None:
    """Write the pictures that are wanted; see `Index.draw` and `Index.report`."""
    if found and montage is not None:
        index.draw(images, found, montage, tiles=tiles)
    if found and report is not None:
        index.report(found, report, images=images, tiles=tiles, names=names)
