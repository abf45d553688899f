"""Make the map of an index, or bring it up to date."""

import logging
from dataclasses import dataclass
from pathlib import Path

from histo_index.errors import InputError, MismatchError
from histo_index.indexer.format.checksums import DamagedError
from histo_index.indexer.reader import OpenIndex
from histo_index.search.maps.file import read_map, store_map
from histo_index.search.maps.make import MapConfig, complete, make_map
from histo_index.search.maps.tile_map import TileMap

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class MapReport:
    """What is stored now.

    Attributes:
        index: the index folder.
        tiles: different tiles on the map; copies of a file share a place.
        placed: how many of them were placed by their neighbours.
        is_new: whether the tiles were laid out now; else the map was there, and brought up to date.
        method: what laid them out.
        perplexity: about how many neighbours each was laid out by.
        seed: of the sample and of the first places.
        generation: of the index that was laid out.
    """

    index: Path
    tiles: int
    placed: int
    is_new: bool
    method: str
    perplexity: float
    seed: int
    generation: int


def update_map(
    index: str | Path, config: MapConfig | None = None, *, overwrite: bool = False
) -> MapReport:
    """Make the map of an index. One that is there keeps its places; new tiles are placed on it.

    Args:
        index: the index folder.
        config: how a map is made; only without one, or to replace it.
        overwrite: lay all tiles out again.

    Raises:
        InputError: there are too few tiles, openTSNE is not installed, or there is a map already
            and a config was passed.
        IndexFormatError: the index is damaged.
        OSError: the disk is full or not writable; the old map stands.
    """
    opened = OpenIndex(Path(index))
    stored = None if overwrite else _read_usable(opened)
    if stored is not None and config is not None:
        raise InputError(
            f"{opened.folder} has a map already; pass --overwrite to lay its tiles out again"
        )
    found = make_map(opened, config or MapConfig()) if stored is None else complete(opened, stored)
    store_map(opened.folder, found)
    return MapReport(
        index=opened.folder, tiles=len(found), placed=int(found.is_placed.sum()),
        is_new=stored is None, method=found.facts.method, perplexity=found.facts.perplexity,
        seed=found.facts.seed, generation=found.facts.generation,
    )  # fmt: skip


def _read_usable(index: OpenIndex) -> TileMap | None:
    """Read the map of an index; None if there is none that can be used any more."""
    try:
        stored = read_map(index.folder)
        if stored is not None:
            stored.require_fits(index.manifest)
    except (DamagedError, MismatchError) as error:
        _log.warning("%s; all tiles are laid out again", str(error).partition(";")[0])
        return None
    return stored
