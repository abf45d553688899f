"""Draw how much each tile of a slide looks like some tiles."""

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from histo_index.api.images import ImageLike, raise_errors
from histo_index.api.slides.class_map import class_probabilities
from histo_index.api.slides.open import slide_pool
from histo_index.api.slides.unchanged import require_unchanged
from histo_index.arrays import Float16, Float64, Int64
from histo_index.errors import ImageError, InputError
from histo_index.files import publish_bytes, publishing
from histo_index.search.distance import take_vectors
from histo_index.slides.reading.identity import SlideTile, parse_tile
from histo_index.slides.reading.reader import SlideFile, require_libraries

if TYPE_CHECKING:
    from histo_index.api.index import Index
    from histo_index.slides.reading.info import SlideInfo
    from histo_index.slides.reading.reader import Pixels
    from histo_index.slides.tiling.grid import Grid


@dataclass(frozen=True, kw_only=True)
class Heatmap:
    """A value for each indexed tile of a slide.

    Attributes:
        slide: path of the slide.
        image_ids: of the tiles, T of them.
        values: float64 [T]; see `heatmap`.
        meaning: what the values are.
        limits: lowest and highest value of the colours; None for those of the values.
    """

    slide: str
    image_ids: list[str]
    values: Float64
    meaning: str
    limits: tuple[float, float] | None = None


def heatmap(
    index: "Index",
    examples: Sequence[ImageLike] = (),
    *,
    slide: str,
    unlike: Sequence[ImageLike] = (),
    label: str | None = None,
    output: str | Path | None = None,
    geojson: str | Path | None = None,
    crop: bool = True,
) -> Heatmap:
    """Measure how much each tile of a slide looks like some tiles, and draw it.

    The value of a tile is the cosine similarity of its vector to the nearest example, -1 to 1; with
    examples of what is not meant, minus that to the nearest of those, -2 to 2. With a class, it is
    the probability of that class instead, see `class_probabilities`.

    Args:
        index: an index with tiles of the slide.
        examples: tiles that are meant, as for `Index.search`.
        slide: path of the slide, or its `slide_id` in the index.
        unlike: tiles that are not meant.
        label: a class of the calibration, instead of examples.
        output: a PNG file to draw to.
        geojson: a file for the tiles with their values, for QuPath.
        crop: GeoJSON counts from the scanned part of the slide, as QuPath does.

    Raises:
        InputError: the index has no tiles of the slide, a name is not found, or the class has no
            probability for this slide.
        ImageError: an example or the slide cannot be read.
    """
    _require_one_question(examples, unlike, label)
    rows, tiles = find_slide_rows(index, slide)
    measured = measure_tiles(
        index, rows, slide=slide, examples=examples, unlike=unlike, label=label
    )
    found = replace(measured, slide=tiles[0].slide)
    if output is not None or geojson is not None:
        require_unchanged(index.opened, int(rows[0]), Path(tiles[0].slide))
        _draw(found, tiles, output, geojson, crop=crop)
    return found


def measure_tiles(
    index: "Index",
    rows: Int64,
    *,
    slide: str,
    examples: Sequence[ImageLike] = (),
    unlike: Sequence[ImageLike] = (),
    label: str | None = None,
) -> Heatmap:
    """Measure how much the tiles of a slide look like some tiles; see `heatmap`.

    Args:
        index: an index with tiles of the slide.
        rows: int64 [T], the tiles.
        slide: what messages call the slide.
        examples: tiles that are meant.
        unlike: tiles that are not meant.
        label: a class of the calibration, instead of examples.

    Raises:
        InputError: a name is not found, or the class has no probability for this slide.
        ImageError: an example cannot be read.
    """
    _require_one_question(examples, unlike, label)
    image_ids = index.opened.rows["image_id"].take(rows).to_pylist()
    limits = None
    if label is not None:
        values = class_probabilities(index, image_ids, label, slide=slide)
        meaning, limits = f"probability of {label}", (0.0, 1.0)
    else:
        values, meaning = _likeness(index, rows, examples, unlike)
    return Heatmap(slide=slide, image_ids=image_ids, values=values, meaning=meaning, limits=limits)


def _require_one_question(
    examples: Sequence[ImageLike], unlike: Sequence[ImageLike], label: str | None
) -> None:
    if (label is None) == (not examples):
        raise InputError("expected example tiles or --class, one of the two")
    if label is not None and unlike:
        raise InputError("--unlike goes with example tiles, not with --class")


def find_slide_rows(index: "Index", slide: str) -> tuple[Int64, list[SlideTile]]:
    """Find the tiles of a slide in an index.

    Returns:
        int64 [T], rows; and the tiles, with the path of the slide as it can be opened.

    Raises:
        InputError: there are none.
    """
    opened = index.opened
    root = opened.manifest.tiles_root(opened.folder)
    own = os.path.abspath(slide)
    ids = opened.rows["slide_id"].to_pylist() if "slide_id" in opened.rows.column_names else None
    paths = opened.rows["path"].to_pylist()
    found: list[tuple[int, SlideTile]] = []
    for row in opened.live_rows().tolist():
        tile = parse_tile(root / paths[row])
        is_meant = ids is not None and ids[row] == slide
        if tile is not None and (is_meant or os.path.abspath(tile.slide) == own):
            found.append((row, tile))
    # Of several scales the one with most tiles.
    scales = Counter(tile.scale for _, tile in found)
    most = max(scales, key=lambda scale: scales[scale], default="")
    found = [(row, tile) for row, tile in found if tile.scale == most]
    if not found:
        raise InputError(
            f"{slide}: no tile of this slide is in {opened.folder}; pass a slide_id or the path of "
            "an indexed slide"
        )
    return np.array([row for row, _ in found], np.int64), [tile for _, tile in found]


def _likeness(
    index: "Index", rows: Int64, examples: Sequence[ImageLike], unlike: Sequence[ImageLike]
) -> tuple[Float64, str]:
    """Return how much each tile is like the examples, float64 [T], and what that means."""
    vectors = take_vectors(index.opened, np.empty((0, 0), np.float16), rows)
    values = _similarities(index, vectors, examples)
    if not unlike:
        return values, "similarity"
    return values - _similarities(index, vectors, unlike), "similarity difference"


def _similarities(index: "Index", vectors: Float16, examples: Sequence[ImageLike]) -> Float64:
    """Return the cosine similarity of each vector to the nearest example: float64 [T]."""
    located = raise_errors(index.locate(list(examples)))
    wanted = np.array([entry.vector for entry in located], np.float32)
    return np.asarray((vectors.astype(np.float32) @ wanted.T).max(axis=1), np.float64)


def _draw(
    found: Heatmap,
    tiles: Sequence[SlideTile],
    output: str | Path | None,
    geojson: str | Path | None,
    *,
    crop: bool,
) -> None:
    from histo_index.slides.overlay.draw import draw_heatmap
    from histo_index.slides.tiling.geojson import collection, tile_features

    info, picture = read_picture(tiles[0])
    grid = _grid(info, tiles)
    if output is not None:
        image = draw_heatmap(
            picture, info, grid, found.values, title=found.meaning, limits=found.limits
        )
        with publishing(Path(output)) as temporary:
            image.save(temporary, format="PNG")
    if geojson is not None:
        features = tile_features(grid, info, {found.meaning: found.values}, crop=crop)
        publish_bytes(Path(geojson), json.dumps(collection(features)).encode())


def read_picture(tile: SlideTile) -> "tuple[SlideInfo, Pixels]":
    """Describe the slide of a tile and read a picture of its bounds, in a decoder process.

    Raises:
        InputError: the libraries for slides are not installed.
        ImageError: the slide cannot be read.
    """
    from histo_index.slides.tiling.work import PictureWork

    require_libraries()
    with slide_pool(PictureWork(), 1) as pool:
        (found,) = pool.prepare([SlideFile.of(tile.slide, tile.slide_mpp)])
    if isinstance(found, ImageError):
        raise found
    return found


def _grid(info: "SlideInfo", tiles: Sequence[SlideTile]) -> "Grid":
    from histo_index.slides.tiling.grid import Grid

    scale, side_um = info.require_scale(), tiles[0].mpp * tiles[0].size
    return Grid(
        x=np.array([tile.x for tile in tiles], np.int64),
        y=np.array([tile.y for tile in tiles], np.int64),
        width=side_um / scale.x,
        height=side_um / scale.y,
    )
