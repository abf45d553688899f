"""Read where tiles lie on their slides: from the names of slide tiles, or from a manifest."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from histo_index.api.slides.open import describe
from histo_index.arrays import Float64
from histo_index.encoder.training.batches.neighbours import Place
from histo_index.errors import ImageError, InputError
from histo_index.slides.reading.identity import SlideTile, parse_tile

_log = logging.getLogger(__name__)

_SLIDE: Final = "slide_id"
# The side of a tile, like x and y in any unit that the tiles of a slide share.
_SPAN: Final = "span"
_NUMBERS: Final = ("x", "y", _SPAN)
COLUMNS: Final = (_SLIDE, *_NUMBERS)


def read_places(tiles: pa.Table, root: Path) -> list[Place | None]:
    """Read where tiles lie: slide tiles by their names, files by the columns of the manifest.

    Names of files are not searched for coordinates.

    Args:
        tiles: the tiles of the run [N]: `path`, and for files `slide_id`, `x`, `y` and `span`.
        root: the folder that paths are relative to.

    Returns:
        The place of each tile [N]; None where it is unknown.

    Raises:
        InputError: a coordinate is no number, or a span is not above 0; or there are slide tiles,
            and the libraries for slides are not installed.
    """
    named = [parse_tile(root / path) for path in tiles["path"].to_pylist()]
    listed = _read_columns(tiles) if None in named else [None] * len(named)
    sides = _measure_pixels([tile for tile in named if tile is not None])
    return [
        place if tile is None else _locate(tile, sides[tile.slide, tile.slide_mpp])
        for tile, place in zip(named, listed, strict=True)
    ]


def _measure_pixels(
    tiles: Sequence[SlideTile],
) -> dict[tuple[str, float | None], tuple[float, float] | None]:
    """Return width and height of a level-0 pixel in µm, by slide; None if it cannot be read."""
    found: dict[tuple[str, float | None], tuple[float, float] | None] = {}
    for tile in tiles:
        given = tile.slide_mpp
        found[tile.slide, given] = None if given is None else (given, given)
    unknown = [slide for slide, given in found if given is None]
    for slide, info in zip(unknown, describe(unknown) if unknown else (), strict=True):
        if not isinstance(info[1], ImageError) and info[1].scale is not None:
            found[slide, None] = info[1].scale.x, info[1].scale.y
    return found


def _locate(tile: SlideTile, pixel_um: tuple[float, float] | None) -> Place | None:
    if pixel_um is None:
        return None
    width, height = (tile.size * tile.mpp / side for side in pixel_um)
    return Place(slide=tile.slide, x=tile.x, y=tile.y, width=width, height=height)


def _read_columns(tiles: pa.Table) -> list[Place | None]:
    missing = [name for name in COLUMNS if name not in tiles.column_names]
    if missing:
        if {"x", "y"} <= set(tiles.column_names):
            _log.info("x and y of image files are not used: no column %s", " and ".join(missing))
        return [None] * len(tiles)
    slides = tiles[_SLIDE].cast(pa.string()).to_pylist()
    x, y, spans = (_read_numbers(tiles, name) for name in _NUMBERS)
    if (spans <= 0).any():
        raise InputError(f"column {_SPAN} holds {spans[spans <= 0][0]:g}; expected sides above 0")
    is_known = np.isfinite(x) & np.isfinite(y) & np.isfinite(spans)
    return [
        Place(slide, float(x[row]), float(y[row]), float(spans[row]), float(spans[row]))
        if slide and is_known[row]
        else None
        for row, slide in enumerate(slides)
    ]


def _read_numbers(tiles: pa.Table, name: str) -> Float64:
    """Return the numbers of a column; NaN where it has none."""
    column = tiles[name]
    if pa.types.is_string(column.type):
        column = pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
    try:
        numbers = column.cast(pa.float64())
    except pa.ArrowInvalid as error:
        raise InputError(f"column {name}: {error}; expected numbers, or nothing") from error
    return np.asarray(pc.fill_null(numbers, np.nan).to_numpy(), np.float64)
