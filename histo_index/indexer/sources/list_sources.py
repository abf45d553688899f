"""List the tiles of all sources of an index; refuse a source that cannot be listed any more."""

import logging
import os
import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from histo_index.errors import InputError
from histo_index.indexer.format.shards import user_columns
from histo_index.indexer.inputs.folders import UNREADABLE_FOLDER
from histo_index.indexer.inputs.slides import CutSlides, expand_slides
from histo_index.indexer.inputs.tile_list import TileList
from histo_index.indexer.inputs.tiles import list_tiles, nothing_usable
from histo_index.indexer.sources.join_lists import join_lists
from histo_index.indexer.sources.source import Source, StoredTiles, is_below
from histo_index.wording import counted

_log = logging.getLogger(__name__)


def list_sources(
    sources: Sequence[Source],
    stored: StoredTiles | None,
    *,
    drop_missing: bool = False,
    cut: CutSlides | None = None,
) -> tuple[TileList, tuple[Source, ...]]:
    """List the tiles of all sources.

    Args:
        sources: what to list.
        stored: the tiles that the index holds; None in a first build.
        drop_missing: leave out folders and files that cannot be listed.
        cut: cuts slides into tiles; needed where a source has any.

    Returns:
        The tiles, and the sources with their base, prefix and columns filled in.

    Raises:
        InputError: a source is missing, unreadable or empty, or its manifest cannot be used.
    """
    lists: list[TileList] = []
    listed: list[Source] = []
    for source in sources:
        available = _require_available(source, stored, drop_missing=drop_missing)
        if available is None:
            continue
        found = _list_source(available, stored, drop_missing=drop_missing)
        prefix = available.prefix
        if prefix is None:
            prefix = _choose_prefix(found.root, listed)
        columns = tuple(user_columns(found.table))
        listed.append(replace(available, base=found.root, prefix=prefix, columns=columns))
        named = found if found.has_own_ids else _with_prefix(found, prefix)
        lists.append(expand_slides(named, source.slides, cut))
    if not lists:
        raise InputError("every source of the index is missing; nothing was changed")
    return join_lists(lists, [source.manifest is not None for source in listed]), tuple(listed)


def _require_available(
    source: Source, stored: StoredTiles | None, *, drop_missing: bool
) -> Source | None:
    """Refuse a source that lies out of reach, such as on a share that is not mounted.

    Returns:
        The source without the paths that are to be dropped; None if nothing is left of it.
    """
    if stored is None or source.base is None:
        return source
    missing = []
    for path in source.paths or (source.base,):
        try:
            if stat.S_ISDIR(path.stat().st_mode):
                os.scandir(path).close()
        except OSError as error:
            _refuse(path, f"cannot be read ({error.strerror})", stored, drop_missing=drop_missing)
            missing.append(path)
    left = tuple(path for path in source.paths if path not in missing)
    return None if missing and not left else replace(source, paths=left)


def _list_source(source: Source, stored: StoredTiles | None, *, drop_missing: bool) -> TileList:
    if source.manifest is not None and not source.manifest.exists():
        return _keep_stored(source, stored)
    is_cut = source.slides is not None
    found = list_tiles(source.paths, source.manifest, base=source.base, slides=is_cut)
    if found.tried:
        tried = ", ".join(str(path) for path in found.tried)
        raise InputError(f"{source.manifest}: none of its files was found; tried {tried}")
    if stored is not None and source.manifest is None:
        _require_tiles(source, found, stored, drop_missing=drop_missing)
    lost = [name for name in source.columns if name not in found.table.column_names]
    if lost and source.has_new_manifest:
        raise InputError(
            f"{source.manifest}: lacks the column `{lost[0]}`, which this source gave before; "
            "add it, or pass --replace to drop it"
        )
    return found


def _require_tiles(
    source: Source, found: TileList, stored: StoredTiles, *, drop_missing: bool
) -> None:
    """Refuse a folder that gave tiles before and gives none now."""
    if source.base is None and not len(found.table):
        raise InputError(nothing_usable(source.paths, found.rejected))
    for entry in found.rejected:
        if entry.reason.startswith(UNREADABLE_FOLDER):
            _refuse(found.root / entry.path, "cannot be read", stored, drop_missing=drop_missing)
    for path in source.paths:
        if not pc.any(is_below(found.table["path"], path, found.root)).as_py():
            reason = "no images are there (is a share not mounted?)"
            _refuse(path, reason, stored, drop_missing=drop_missing)


def _refuse(path: Path, reason: str, stored: StoredTiles, *, drop_missing: bool) -> None:
    """Refuse to drop the tiles of a source that cannot be listed, unless asked to."""
    count = len(stored.below(path))
    if count and not drop_missing:
        raise InputError(
            f"{path}: {reason}; {counted(count, 'tile')} of the index came from there and were "
            "kept: make it available again, or pass --drop-missing-source to drop them"
        )
    if count:
        _log.warning("%s: %s; its %s are dropped", path, reason, counted(count, "tile"))


def _keep_stored(source: Source, stored: StoredTiles | None) -> TileList:
    """List the stored tiles of a source whose manifest is gone, with the columns it gave."""
    if stored is None or source.base is None:
        raise InputError(f"{source.manifest}: no such file or folder")
    _log.warning(
        "%s: gone; the tiles and columns it gave stay as they were: pass --manifest FILE to name "
        "another, or --no-manifest to drop the columns",
        source.manifest,
    )
    table = stored.below(source.base)
    table = table.select(["image_id", "path", *source.columns])
    shift = os.path.relpath(source.base.resolve(), stored.root)
    if shift != os.curdir:
        names = [path.removeprefix(shift + "/") for path in table["path"].to_pylist()]
        table = table.set_column(1, "path", pa.array(names, pa.string()))
    return TileList(root=source.base.resolve(), table=table, has_own_ids=True)


def _choose_prefix(base: Path, listed: Sequence[Source]) -> str:
    """Choose what the image ids of an added source begin with.

    Below the first source's base they are what they would be as part of it. Elsewhere they begin
    with the name of the added folder, and with its parents' as far as another source has that too.
    """
    if not listed:
        return ""
    first = listed[0].base
    assert first is not None
    if base.is_relative_to(first):
        below = base.relative_to(first).as_posix()
        return "" if below == os.curdir else f"{below}/"
    taken = {source.prefix for source in listed}
    parts = [part for part in base.parts if part != base.anchor] or ["root"]
    prefixes = ("/".join(parts[-count:]) + "/" for count in range(1, len(parts) + 1))
    return next((prefix for prefix in prefixes if prefix not in taken), "/".join(parts) + "/")


def _with_prefix(found: TileList, prefix: str) -> TileList:
    ids = pc.binary_join_element_wise(prefix, found.table["image_id"], "")
    return replace(found, table=found.table.set_column(0, "image_id", ids))
