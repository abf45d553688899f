"""The slides of an index, as clients see them: by opaque ids, in the order of the index."""

import hmac
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from histo_index.arrays import Int64
from histo_index.indexer.reader import OpenIndex
from histo_index.slides.reading.identity import SlideTile, parse_tile

_MARK: Final = "#x="
# As `parse_tile` divides a name: the slide, the place and the scale.
_PARTS: Final = r"(?s)^(?P<slide>.+)#x=(?P<x>-?[0-9]{1,9}),y=(?P<y>-?[0-9]{1,9})(?P<scale>,mpp=.+)$"
_BYTES: Final = 16


@dataclass(frozen=True, kw_only=True, eq=False)
class IndexedSlide:
    """A slide with tiles in the index.

    Attributes:
        slide_id: what clients call it.
        name: its path as the index has it; shown with `--names` only.
        tile: one of its tiles, the first.
        file: path of the slide, to be opened.
        rows: int64 [T], its tiles: of several scales those of the one with most.
        x: int64 [T], their left edges in level-0 pixels of the whole plane.
        y: int64 [T], their upper edges.
    """

    slide_id: str
    name: str
    tile: SlideTile
    file: Path
    rows: Int64
    x: Int64
    y: Int64

    @property
    def label(self) -> str:
        """What pages call it where names are not shown."""
        return f"Slide {self.slide_id[:8]}"


def list_slides(opened: OpenIndex, root: Path, key: bytes) -> dict[str, IndexedSlide]:
    """Find the slides of an index, by their opaque ids; empty for an index of tile files.

    Args:
        opened: the index.
        root: folder that its paths start from.
        key: of the ids.
    """
    live = opened.live_rows()
    paths = opened.rows["path"].take(pa.array(live)).combine_chunks()
    if not pc.any(pc.match_substring(paths, _MARK)).as_py():
        return {}
    parts = pc.extract_regex(paths, pattern=_PARTS)
    is_tile = parts.is_valid().to_numpy(zero_copy_only=False)
    columns = {name: pc.struct_field(parts, name) for name in ("slide", "x", "y", "scale")}
    found = {}
    for chosen in _choose_scales(columns, is_tile):
        path = paths[int(chosen[0])].as_py()
        if (tile := parse_tile(path)) is None:
            continue
        slide_id = hmac.digest(key, tile.slide.encode(), "sha256")[:_BYTES].hex()
        found[slide_id] = IndexedSlide(
            slide_id=slide_id, name=tile.slide, tile=tile, file=root / tile.slide,
            rows=live[chosen], x=_numbers(columns["x"], chosen), y=_numbers(columns["y"], chosen),
        )  # fmt: skip
    return found


def _choose_scales(columns: Mapping[str, pa.Array], is_tile: Any) -> Iterator[Int64]:
    """Yield the tiles of each slide, int64 [T]: of several scales those of the one with most."""
    known = np.flatnonzero(is_tile)
    slides, scales = (
        columns[name].take(pa.array(known)).dictionary_encode().indices.to_numpy()
        for name in ("slide", "scale")
    )
    kinds = slides.astype(np.int64) * (scales.max(initial=0) + 1) + scales
    order = np.argsort(kinds, kind="stable")
    borders = np.flatnonzero(np.diff(kinds[order])) + 1
    best: dict[int, Int64] = {}
    for members in np.split(order, borders) if len(order) else []:
        slide = int(slides[members[0]])
        # Of equally many tiles the scale that comes first in the index.
        rank = len(members), -int(members[0])
        if slide not in best or rank > (len(best[slide]), -int(best[slide][0])):
            best[slide] = members
    for slide in sorted(best):
        yield known[best[slide]]


def _numbers(texts: pa.Array, chosen: Int64) -> Int64:
    return np.asarray(texts.take(pa.array(chosen)).cast(pa.int64()).to_numpy(), np.int64)


def rejected_places(slide: IndexedSlide, paths: Sequence[str]) -> list[tuple[int, int]]:
    """Select the rejected tiles of a slide: left and upper edge of each.

    Args:
        slide: the slide.
        paths: of all rejected inputs.
    """
    tiles = (parse_tile(path) for path in paths if _MARK in path)
    return [
        (tile.x, tile.y)
        for tile in tiles
        if tile is not None and (tile.slide, tile.scale) == (slide.name, slide.tile.scale)
    ]
