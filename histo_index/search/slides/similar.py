"""Find slides like a slide: by the mean of their tiles, then tile by tile."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from histo_index.arrays import Float32, Int64
from histo_index.errors import InputError
from histo_index.indexer.reader import OpenIndex
from histo_index.search.distance import take_vectors
from histo_index.search.neighbours.exclusion import find_column
from histo_index.slides.reading.identity import file_part

SLIDE_COLUMN: Final = "slide_id"
# Slides that are compared tile by tile: those with the nearest means.
_COMPARED: Final = 5
_FEWEST_COMPARED: Final = 50
# Tiles of a slide that are compared, evenly spread over it.
_MOST_TILES: Final = 2_000


@dataclass(frozen=True, kw_only=True)
class SlideNeighbour:
    """A slide like another.

    Attributes:
        slide: its `slide_id`.
        rank: 1 is the most alike.
        distance: mean over the tiles of both slides of the distance to the nearest tile of the
            other slide, 0 to 4.
        mean_distance: distance between the mean vectors, 0 to 4.
        tiles: of this slide in the index.
    """

    slide: str
    rank: int
    distance: float
    mean_distance: float
    tiles: int


def find_similar_slides(
    index: OpenIndex, slide: str, *, k: int, exclude_same: Sequence[str] = ()
) -> list[SlideNeighbour]:
    """Find the slides most like a slide.

    The means choose five times k slides, at least 50; their tiles decide. Both ways count the same,
    so that a small slide is not like every large one that contains its tissue.

    Args:
        index: an index of slides.
        slide: `slide_id` or path of a slide in it.
        k: number of slides.
        exclude_same: columns; slides with a value of the slide in one are left out.

    Raises:
        InputError: the slide is not in the index, or a column is not.

    Source: the symmetric mean of nearest distances is the modified Hausdorff distance of Dubuisson
        and Jain (1994), with a sum instead of the larger one.
    """
    slides = _rows_by_slide(index)
    if not slides:
        raise InputError(f"{index.folder} holds no tile of a slide; build it from slides")
    slide = _find_slide(index, slides, slide)
    left_out = {slide, *_same(index, slides, slide, exclude_same)}
    others = [name for name in slides if name not in left_out]
    means = {name: _mean(_vectors(index, slides[name])) for name in (slide, *others)}
    apart = {name: float(((means[name] - means[slide]) ** 2).sum()) for name in others}
    nearest = sorted(others, key=lambda name: (apart[name], name))
    nearest = nearest[: max(_COMPARED * k, _FEWEST_COMPARED)]
    own = _vectors(index, slides[slide])
    exact = {name: tile_distance(own, _vectors(index, slides[name])) for name in nearest}
    ranked = sorted(nearest, key=lambda name: (exact[name], name))[:k]
    return [
        SlideNeighbour(
            slide=name, rank=rank, distance=exact[name], mean_distance=apart[name],
            tiles=len(slides[name]),
        )
        for rank, name in enumerate(ranked, start=1)
    ]  # fmt: skip


def _find_slide(index: OpenIndex, slides: dict[str, Int64], slide: str) -> str:
    """Return the `slide_id` of a slide that is named by it, or by its path."""
    if slide in slides:
        return slide
    root, own = index.manifest.tiles_root(index.folder), os.path.abspath(slide)
    for name, rows in slides.items():
        path = index.rows["path"][int(rows[0])].as_py()
        if os.path.abspath(file_part(str(root / path))) == own:
            return name
    raise InputError(
        f"{slide}: no slide of {index.folder}; pass a slide_id, such as {next(iter(slides))}, or "
        "the path of an indexed slide"
    )


def tile_distance(left: Float32, right: Float32) -> float:
    """Compute the mean distance of each tile to the nearest tile of the other slide.

    Args:
        left: float32 [L, D], unit rows.
        right: float32 [R, D], unit rows.

    Returns:
        The mean of both directions, 0 to 4.
    """
    distances = 2 - 2 * (left @ right.T)
    there, back = distances.min(axis=1).mean(), distances.min(axis=0).mean()
    return float(np.clip((there + back) / 2, 0, 4))


def _rows_by_slide(index: OpenIndex) -> dict[str, Int64]:
    if SLIDE_COLUMN not in index.rows.column_names:
        raise InputError(f"{index.folder}: no column `{SLIDE_COLUMN}`; build it from slides")
    names = index.rows[SLIDE_COLUMN].to_pylist()
    found: dict[str, list[int]] = {}
    for row in index.live_rows().tolist():
        if names[row] is not None:
            found.setdefault(names[row], []).append(row)
    return {name: np.array(rows, np.int64) for name, rows in found.items()}


def _same(
    index: OpenIndex, slides: dict[str, Int64], slide: str, columns: Sequence[str]
) -> set[str]:
    """Find the slides that share a value of a column with a slide, or have none."""
    found: set[str] = set()
    for column in columns:
        find_column(index.rows, column, index.hidden, option="--exclude-same")
        values: dict[str, Any] = {
            name: index.rows[column][int(rows[0])].as_py() for name, rows in slides.items()
        }
        found |= {name for name, value in values.items() if value in (None, values[slide])}
    return found


def _vectors(index: OpenIndex, rows: Int64) -> Float32:
    """Read the vectors of a slide, evenly thinned if there are many: float32 [T, D], unit rows."""
    some = rows[:: -(-len(rows) // _MOST_TILES)]
    nothing = np.empty((0, index.manifest.vector_size), np.float16)
    vectors = take_vectors(index, nothing, some).astype(np.float32)
    unit: Float32 = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def _mean(vectors: Float32) -> Float32:
    mean = vectors.mean(axis=0)
    length = np.linalg.norm(mean)
    found: Float32 = mean / length if length > 0 else mean
    return found
