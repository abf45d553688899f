"""Draw queries and their neighbours as one image."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw

from histo_index.encoder.decode.image_file import DecodeLimits, read_tile
from histo_index.errors import ImageError
from histo_index.lettering import drawable, load_font
from histo_index.report.pictures import short_names
from histo_index.search.answers.neighbours import Nearest, Neighbour
from histo_index.wording import counted

_TILE_PX: Final = 160
_GAP_PX: Final = 8
_LINE_PX: Final = 16
# Lines of a name; of a longer one the end is shown, because file names differ there.
_NAME_LINES: Final = 4
# Classes below a query.
_MOST_CLASSES: Final = 3
# Neighbours per line.
_COLUMNS: Final = 10
_PAPER: Final = "white"
_INK: Final = "#202020"
_FONT_PX: Final = 12
# Lines of a page: about 7,500 pixels, which every viewer opens.
PAGE_LINES: Final = 30

_CHANGED: Final = "changed since indexed"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Cell:
    """A tile of the montage: its column, its file, and its captions."""

    column: int
    file: Path | None
    captions: list[str]


def draw_pages(
    queries: Sequence[tuple[str, Path | None]],
    neighbours: Sequence[Sequence[Neighbour]],
    tiles: Path,
    *,
    is_current: Callable[[Path], bool] = lambda _: True,
    heading: str = "query",
    page_lines: int = PAGE_LINES,
) -> Iterator[Image.Image]:
    """Draw a row per query: the query, then its neighbours with their distances.

    Args:
        queries: name and file of each; without a file an empty frame is drawn.
        neighbours: neighbours of each query, nearest first.
        tiles: the folder that the neighbours' paths are relative to.
        is_current: whether a file still has the content that was indexed; others are not drawn.
        heading: what the caption calls a query.
        page_lines: lines of tiles on a page.

    Yields:
        RGB images, a page each. A tile that cannot be read is drawn as an empty frame with its
        name.
    """
    lines = list(_lines(queries, neighbours, tiles, heading))
    missing = 0
    for start in range(0, max(len(lines), 1), page_lines):
        page, undrawn = _draw_page(lines[start : start + page_lines], is_current)
        missing += undrawn
        yield page
    if missing:
        _log.warning(
            "%s could not be drawn from %s; pass --tiles DIR, or build again",
            counted(missing, "tile"),
            tiles,
        )


def _draw_page(
    lines: Sequence[Sequence[_Cell]], is_current: Callable[[Path], bool]
) -> tuple[Image.Image, int]:
    """Draw lines of tiles; return the image and how many neighbours could not be read."""
    cells = [cell for line in lines for cell in line]
    captions = max((len(cell.captions) for cell in cells), default=0)
    height = _TILE_PX + _LINE_PX * captions + 2 * _GAP_PX
    columns = 1 + max((cell.column for cell in cells), default=0)
    size = (columns * (_TILE_PX + _GAP_PX) + 3 * _GAP_PX, len(lines) * height + _GAP_PX)
    picture = Image.new("RGB", size, _PAPER)
    missing = sum(
        not _draw_cell(picture, cell, is_current, top=number * height + _GAP_PX) and cell.column > 0
        for number, line in enumerate(lines)
        for cell in line
    )
    return picture, missing


def _lines(
    queries: Sequence[tuple[str, Path | None]],
    neighbours: Sequence[Sequence[Neighbour]],
    tiles: Path,
    heading: str,
) -> Iterator[list[_Cell]]:
    names = short_names([name for name, _ in queries])
    for name, (_, file), found in zip(names, queries, neighbours, strict=True):
        line = [_Cell(column=0, file=file, captions=[heading, *_fold(name), *_classes(found)])]
        for number, neighbour in enumerate(found):
            if number and number % _COLUMNS == 0:
                yield line
                line = []
            head = f"{neighbour.rank}.  distance {neighbour.distance:.4f}"
            captions = [head, *_facts(neighbour), *_fold(neighbour.image_id)]
            column = 1 + number % _COLUMNS
            line.append(_Cell(column=column, file=tiles / neighbour.path, captions=captions))
        yield line


def _classes(found: Sequence[Neighbour]) -> list[str]:
    """Format the likeliest classes of a query, a line each."""
    answer = found.classes if isinstance(found, Nearest) else None
    if answer is None:
        return []
    lines = [
        line
        for chance in answer.chances[:_MOST_CLASSES]
        for line in _fold(f"{100 * chance.probability:.0f} % {chance.label}")
    ]
    return [*lines, "unlike all labelled"] if answer.is_novel else lines


def _facts(neighbour: Neighbour) -> list[str]:
    """Format the verdict and the class of a neighbour, with the query's probability of it."""
    facts = [] if neighbour.verdict is None else [neighbour.verdict.value]
    if neighbour.label is not None:
        chance = neighbour.probability
        facts += _fold(neighbour.label + ("" if chance is None else f" {100 * chance:.0f} %"))
    return facts


def _draw_cell(
    picture: Image.Image, cell: _Cell, is_current: Callable[[Path], bool], *, top: int
) -> bool:
    """Draw a tile or an empty frame; return whether there was a tile."""
    # A wider gap separates the query from its neighbours.
    left = cell.column * (_TILE_PX + _GAP_PX) + (2 if cell.column else 1) * _GAP_PX
    draw, font = ImageDraw.Draw(picture), load_font(_FONT_PX)
    for line, caption in enumerate(cell.captions):
        draw.text((left, top + _TILE_PX + 3 + _LINE_PX * line), caption, fill=_INK, font=font)
    try:
        if cell.file is None:
            raise ImageError("no file")
        # A file that is gone cannot be read; one that can be may be another than was indexed.
        tile = Image.fromarray(read_tile(cell.file, DecodeLimits()).pixels)
        if not is_current(cell.file):
            raise ImageError(_CHANGED)
    except ImageError as error:
        draw.rectangle((left, top, left + _TILE_PX - 1, top + _TILE_PX - 1), outline=_INK)
        is_changed = str(error) == _CHANGED
        draw.text((left + 8, top + 8), _CHANGED if is_changed else "cannot be read", fill=_INK)
        return False
    tile.thumbnail((_TILE_PX, _TILE_PX))
    picture.paste(tile, (left, top))
    return True


def _fold(name: str) -> list[str]:
    """Wrap a name to the width of a tile."""
    font = load_font(_FONT_PX)
    lines = [""]
    for character in drawable(name):
        if font.getlength(lines[-1] + character) > _TILE_PX:
            lines.append("")
        lines[-1] += character
    if len(lines) > _NAME_LINES:
        lines = ["…", *lines[1 - _NAME_LINES :]]
    return lines
