"""Replace slides in a list of tiles by the tiles that they are cut into."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from histo_index.errors import ImageError, InputError
from histo_index.indexer.format.shards import Rejection, user_columns
from histo_index.indexer.inputs.tile_list import TileList
from histo_index.slides.reading.identity import TIFF_SUFFIXES, is_slide_name, parse_tile
from histo_index.slides.tiling.options import SlideSource, TileOptions, check_names, find_mpp

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SlideToCut:
    """A slide of a source.

    Attributes:
        path: the file, or the folder of a DICOM slide.
        mpp: microns per level-0 pixel, where the user gave them.
        may_be_tile: a TIFF that may be a tile.
    """

    path: Path
    mpp: float | None
    may_be_tile: bool


class CutSlides(Protocol):
    """Cuts slides in other processes; the indexer uses nothing else of it."""

    def __call__(
        self, slides: Sequence[SlideToCut], options: TileOptions
    ) -> Iterator[pa.Table | ImageError | None]:
        """Cut each slide, in order.

        Yields:
            Its tiles, as `tile_table` lists them for a slide without a name; the error that it is
            rejected with; or None if it is a tile.
        """


def expand_slides(found: TileList, source: SlideSource | None, cut: CutSlides | None) -> TileList:
    """Replace each slide in a list by its tiles, which get its image id and columns.

    Args:
        found: tiles and slides.
        source: how slides are cut; None if they are no tiles.
        cut: cuts them.

    Raises:
        InputError: a column of the manifest is one that slide tiles have.
    """
    if source is None:
        return found
    assert cut is not None
    paths = found.table["path"].to_pylist()
    rows = [row for row, path in enumerate(paths) if _may_be_slide(found.root / path)]
    slides = [_to_cut(found.root / paths[row], source) for row in rows]
    for line in check_names([slide.path for slide in slides], source.slide_mpp):
        _log.warning("%s", line)
    pieces, rejected, start = [], list(found.rejected), 0
    for row, tiles in zip(rows, cut(slides, source.options) if rows else (), strict=True):
        if tiles is None:
            continue
        pieces.append(found.table.slice(start, row - start))
        start = row + 1
        if isinstance(tiles, ImageError):
            reason = str(tiles).removeprefix(f"{found.root / paths[row]}: ")
            rejected.append(Rejection(path=paths[row], reason=reason))
        else:
            pieces.append(_join(found.table.slice(row, 1), tiles))
    pieces.append(found.table.slice(start))
    table = pa.concat_tables(pieces, promote_options="permissive")
    return replace(found, table=table, rejected=rejected)


def _may_be_slide(path: Path) -> bool:
    if parse_tile(path) is not None:
        return False
    return is_slide_name(path) or path.suffix.lower() in TIFF_SUFFIXES or path.is_dir()


def _to_cut(path: Path, source: SlideSource) -> SlideToCut:
    return SlideToCut(
        path=path,
        mpp=find_mpp(path, source.slide_mpp),
        may_be_tile=path.suffix.lower() in TIFF_SUFFIXES,
    )


def _join(slide: pa.Table, tiles: pa.Table) -> pa.Table:
    """Give tiles the names and columns of their slide."""
    (facts,) = slide.to_pylist()
    own = user_columns(slide)
    taken = sorted(set(own) & set(tiles.column_names))
    if taken:
        raise InputError(
            f"column `{taken[0]}` of the manifest is written for the tiles of slides; rename it"
        )
    positions = tiles["path"].to_pylist()
    count = len(positions)
    columns: dict[str, pa.Array | pa.ChunkedArray] = {
        name: pa.array([f"{facts[name]}{place}" for place in positions], pa.string())
        for name in ("image_id", "path")
    }
    columns |= {
        name: pa.array([facts[name]] * count, slide.schema.field(name).type) for name in own
    }
    columns |= {name: tiles[name] for name in tiles.column_names if name != "path"}
    columns["slide_id"] = pa.array([facts["image_id"]] * count, pa.string())
    return pa.table(columns)
