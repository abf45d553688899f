"""Draw queries and their neighbours as one picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from histo_index.encoder.images import DecodeLimits, read_tile
from histo_index.errors import ImageError
from histo_index.search.neighbours import Neighbour

_TILE_PX: Final = 160
_CAPTION_PX: Final = 40
_GAP_PX: Final = 8
_PAPER: Final = "white"
_INK: Final = "#202020"


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
    columns = 1 + max((len(row) for row in neighbours), default=0)
    cell_width, cell_height = _TILE_PX + _GAP_PX, _TILE_PX + _CAPTION_PX + _GAP_PX
    size = (columns * cell_width + 3 * _GAP_PX, len(queries) * cell_height + _GAP_PX)
    picture = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(picture)
    for line, ((name, path), found) in enumerate(zip(queries, neighbours, strict=True)):
        top = line * cell_height + _GAP_PX
        _draw_tile(picture, draw, path, (_GAP_PX, top), ["query", Path(name).name])
        for place, neighbour in enumerate(found, 1):
            # A wider gap sets the query apart from its answers.
            left = place * cell_width + 2 * _GAP_PX
            captions = [f"{neighbour.rank}.  distance {neighbour.distance:.4f}"]
            captions.append(neighbour.image_id)
            _draw_tile(picture, draw, tiles / neighbour.path, (left, top), captions)
    return picture


def _draw_tile(
    picture: Image.Image,
    draw: ImageDraw.ImageDraw,
    path: Path | None,
    place: tuple[int, int],
    captions: Sequence[str],
) -> None:
    left, top = place
    try:
        if path is None:
            raise ImageError("no file")
        tile = Image.fromarray(read_tile(path, DecodeLimits()).pixels)
        tile.thumbnail((_TILE_PX, _TILE_PX))
        picture.paste(tile, (left, top))
    except ImageError:
        draw.rectangle((left, top, left + _TILE_PX - 1, top + _TILE_PX - 1), outline=_INK)
        draw.text((left + 8, top + 8), "file not found", fill=_INK)
    font = ImageFont.load_default(size=12)
    for line, caption in enumerate(captions):
        text = _shorten(caption, font)
        draw.text((left, top + _TILE_PX + 3 + 16 * line), text, fill=_INK, font=font)


def _shorten(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Cut a caption at its front, because file names differ at their end."""
    if font.getlength(text) <= _TILE_PX:
        return text
    while text and font.getlength("…" + text) > _TILE_PX:
        text = text[1:]
    return "…" + text
