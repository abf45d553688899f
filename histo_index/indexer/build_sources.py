"""List the sources of a build, and check which tiles it may drop."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from histo_index.errors import InputError
from histo_index.indexer.format.manifest import Manifest
from histo_index.indexer.format.records import SourceRecord
from histo_index.indexer.format.shards import Rejection, user_columns
from histo_index.indexer.inputs.slides import CutSlides
from histo_index.indexer.inputs.tile_list import TileList
from histo_index.indexer.inputs.tiles import list_tiles, nothing_usable
from histo_index.indexer.sources.choose_sources import NamedSources, choose_sources
from histo_index.indexer.sources.list_sources import list_sources
from histo_index.indexer.sources.source import Source, StoredTiles
from histo_index.indexer.writing.draft import root_of
from histo_index.indexer.writing.plan import FinishedShard
from histo_index.indexer.writing.plan_file import read_plan
from histo_index.slides.reading.identity import file_part
from histo_index.wording import counted

_log = logging.getLogger(__name__)


def list_first(
    folder: Path, named: NamedSources, cut: CutSlides | None
) -> tuple[TileList, tuple[Source, ...]]:
    """List the sources of a first build, or of one that was interrupted and goes on.

    Raises:
        InputError: a source cannot be used, or not one tile is listed.
    """
    plan = read_plan(folder)
    remembered = remember(folder, plan.sources if plan else ())
    tiles, sources = list_sources(choose_sources(named, remembered, folder), None, cut=cut)
    if not len(tiles.table):
        raise InputError(nothing_usable(inputs_of(sources), tiles.rejected))
    _warn_of_unlisted(sources, named, tiles)
    return tiles, sources


def remember(
    folder: Path, committed: Sequence[SourceRecord], planned: Sequence[SourceRecord] = ()
) -> list[Source]:
    """Locate the committed sources, and those that an interrupted build was about to add."""
    named = {(record.paths, record.manifest) for record in committed}
    pending = [record for record in planned if (record.paths, record.manifest) not in named]
    for record in pending:
        _log.warning(
            "%s: an interrupted build was adding %s, and this goes on; name the other sources "
            "with --replace to leave it out",
            folder,
            Source.from_record(record, folder),
        )
    return [Source.from_record(record, folder) for record in (*committed, *pending)]


def list_again(
    folder: Path,
    named: NamedSources,
    remembered: Sequence[Source],
    stored: StoredTiles,
    cut: CutSlides | None,
) -> tuple[TileList, tuple[Source, ...]]:
    """List the sources of an index that is there.

    Args:
        folder: the index.
        named: what the user named.
        remembered: its sources.
        stored: its tiles.
        cut: cuts slides into tiles.

    Raises:
        InputError: a source cannot be used, or would have to be dropped.
    """
    chosen = choose_sources(named, remembered, folder)
    tiles, sources = list_sources(chosen, stored, drop_missing=named.drop_missing, cut=cut)
    columns = user_columns(tiles.table)
    lost = [name for name in user_columns(stored.table) if name not in columns]
    if lost:
        _log.warning("dropped, because no source has it any more: column %s", ", ".join(lost))
    _warn_of_unlisted(sources, named, tiles)
    return tiles, sources


def _warn_of_unlisted(
    sources: Sequence[Source], named_sources: NamedSources, tiles: TileList
) -> None:
    """Warn of images in a named folder that its manifest does not list."""
    named = {path.resolve() for path in named_sources.paths}
    for source in sources:
        own = source.paths or ((source.base,) if source.base else ())
        folders = [path for path in own if path.resolve() in named]
        if source.manifest is None or not folders:
            continue
        found = list_tiles(folders, base=source.base, slides=source.slides is not None)
        shift = os.path.relpath(found.root, tiles.root)
        listed = {file_part(path) for path in tiles.table["path"].to_pylist()}
        names = found.table["path"].to_pylist()
        unlisted = sum(os.path.normpath(f"{shift}/{name}") not in listed for name in names)
        if unlisted:
            _log.warning(
                "%s does not list %s of %s: left out; add rows, or pass --no-manifest",
                source.manifest,
                counted(unlisted, "image"),
                ", ".join(str(folder) for folder in folders),
            )


def warn_if_moved(folder: Path, current: Manifest | None, root: Path) -> None:
    """Warn if the paths of tiles now start from another folder."""
    if current is not None and current.settings.root != root_of(root, folder):
        before = current.tiles_root(folder)
        _log.warning("paths now start from %s, before from %s", root, before)


def read_stored(folder: Path, current: Manifest, finished: Sequence[FinishedShard]) -> StoredTiles:
    """Collect the tiles of the committed generation, those of damaged shards left out."""
    rows = {shard.receipt.shard_id: shard.rows for shard in finished}
    tables = [rows[shard.shard_id] for shard in current.shards if shard.shard_id in rows]
    names = ("image_id", "path", "sha256")
    empty = pa.table({name: pa.array([], pa.string()) for name in names})
    root = current.tiles_root(folder)
    return StoredTiles(root=root, table=pa.concat_tables(tables) if tables else empty)


def require_tiles_kept(
    folder: Path, stored: StoredTiles, wanted: pa.Table, rejected: Sequence[Rejection]
) -> None:
    """Stop a build that would drop more than half of the tiles by content.

    If it would keep none at all, the build itself says why.

    Raises:
        InputError: it would.
    """
    unusable = pa.array([entry.sha256 for entry in rejected], pa.string())
    kept = wanted["sha256"].filter(pc.invert(pc.is_in(wanted["sha256"], value_set=unusable)))
    before = stored.table["sha256"]
    lost = len(before) - int(pc.sum(pc.is_in(before, value_set=kept)).as_py() or 0)
    if 2 * lost > len(before) and len(kept):
        raise InputError(
            f"{folder}: this build would drop {lost:,} of {counted(len(before), 'tile')}; nothing "
            "was changed: check the sources, or pass --allow-drop"
        )


def inputs_of(sources: Sequence[Source]) -> list[Path]:
    """Return the paths of sources, for messages."""
    paths = [path for source in sources for path in source.paths]
    return paths + [source.manifest for source in sources if source.manifest]
