"""Draw queries and their neighbours as one picture."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from histo_index.encoder.images import DecodeLimits, read_tile
from histo_index.errors import ImageError, printable
from histo_index.search.answers import short_names
from histo_index.search.neighbours import Neighbour

_TILE_PX: Final = 160
_CAPTION_PX: Final = 40
_GAP_PX: Final = 8
# Neighbours in a line; more go on below.
_COLUMNS: Final = 10
_PAPER: Final = "white"
_INK: Final = "#202020"

_log = logging.getLogger(__name__)


def draw_montage(
    queries: Sequence[tuple[str, Path | None]],
    neighbours: Sequence[Sequence[Neighbour]],
    tiles: Path,
) -> Image.Image:
    """Draw a row per query: the query, then its neighbours with their distances.

    Args:
        queries: name and file of each; without a file its place says so.
        neighbours: of each query, nearest first.
        tiles: the folder that the neighbours' paths are relative to.

    Returns:
        An RGB picture. A tile that cannot be read is drawn as an empty frame with its name.
    """
    names = short_names([name for name, _ in queries])
    asked = zip(names, (file for _, file in queries), strict=True)
    lines = [
        (query if start == 0 else None, found[start : start + _COLUMNS])
        for query, found in zip(asked, neighbours, strict=True)
        for start in range(0, max(len(found), 1), _COLUMNS)
    ]
    columns = 1 + max((len(found) for _, found in lines), default=0)
    cell_width, cell_height = _TILE_PX + _GAP_PX, _TILE_PX + _CAPTION_PX + _GAP_PX
    size = (columns * cell_width + 3 * _GAP_PX, len(lines) * cell_height + _GAP_PX)
    picture = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(picture)
    missing = 0
    for line, (query, found) in enumerate(lines):
        top = line * cell_height + _GAP_PX
        if query is not None:
            _draw_tile(picture, draw, query[1], (_GAP_PX, top), ["query", printable(query[0])])
        for place, neighbour in enumerate(found, 1):
            # A wider gap sets the query apart from its answers.
            left = place * cell_width + 2 * _GAP_PX
            captions = [f"{neighbour.rank}.  distance {neighbour.distance:.4f}"]
            captions.append(printable(neighbour.image_id))
            path = tiles / neighbour.path
            missing += not _draw_tile(picture, draw, path, (left, top), captions)
    if missing:
        _log.warning("%d tiles could not be drawn from %s; pass --tiles DIR", missing, tiles)
    return picture


def _draw_tile(
    picture: Image.Image,
    draw: ImageDraw.ImageDraw,
    path: Path | None,
    place: tuple[int, int],
    captions: Sequence[str],
) -> bool:
    """Draw a tile or an empty frame; tells whether there was a tile."""
    left, top = place
    is_there = True
    try:
        if path is None:
            raise ImageError("no file")
        tile = Image.fromarray(read_tile(path, DecodeLimits()).pixels)
        tile.thumbnail((_TILE_PX, _TILE_PX))
        picture.paste(tile, (left, top))
    except ImageError:
        is_there = False
        draw.rectangle((left, top, left + _TILE_PX - 1, top + _TILE_PX - 1), outline=_INK)
        draw.text((left + 8, top + 8), "cannot be read", fill=_INK)
    font = ImageFont.load_default(size=12)
    for line, caption in enumerate(captions):
        text = _shorten(caption, font)
        draw.text((left, top + _TILE_PX + 3 + 16 * line), text, fill=_INK, font=font)
    return is_there


def _shorten(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Cut a caption at its front, because file names differ at their end."""
    if font.getlength(text) <= _TILE_PX:
        return text
    while text and font.getlength("…" + text) > _TILE_PX:
        text = text[1:]
    return "…" + text
