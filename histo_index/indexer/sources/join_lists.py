"""Join the tiles of several sources to one list."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from histo_index.errors import InputError
from histo_index.indexer.format.shards import Rejection
from histo_index.indexer.inputs.tile_list import TileList


def join_lists(lists: Sequence[TileList], has_manifest: Sequence[bool]) -> TileList:
    """Join the tiles of several sources; paths then start from the folder they have in common.

    A file that several sources list is one tile: with the columns of the first manifest that lists
    it, and with the image id it has in the first source. Another tile with an image id that is
    taken is rejected.

    Args:
        lists: tiles of each source.
        has_manifest: for each source, whether a manifest lists its tiles.

    Raises:
        InputError: a column has values of kinds that one column cannot hold.
    """
    if len(lists) == 1:
        return lists[0]
    root = Path(os.path.commonpath([found.root for found in lists]))
    moved = [_move(found, root) for found in lists]
    first_ids: dict[str, str] = {}
    for found in moved:
        for path, name in zip(*_names(found.table), strict=True):
            first_ids.setdefault(path, name)
    rejected = [entry for found in moved for entry in found.rejected]
    owners: dict[str, str] = {}
    seen: set[str] = set()
    tables = []
    # Those with a manifest first: their columns are kept.
    order = sorted(range(len(moved)), key=lambda number: not has_manifest[number])
    for found in (moved[number] for number in order):
        rows, ids = [], []
        for row, path in enumerate(found.table["path"].to_pylist()):
            name = first_ids[path]
            if path in seen:
                continue
            seen.add(path)
            if owners.setdefault(name, path) != path:
                rejected.append(Rejection(path=path, reason=f"duplicate image_id: {name}"))
                continue
            rows.append(row)
            ids.append(name)
        kept = found.table.take(pa.array(rows, pa.int64()))
        tables.append(kept.set_column(0, "image_id", pa.array(ids, pa.string())))
    return TileList(
        root=root,
        table=_concat(tables),
        rejected=rejected,
        ignored=sum(found.ignored for found in lists),
    )


def _move(found: TileList, root: Path) -> TileList:
    """Make paths relative to a parent folder."""
    shift = found.root.relative_to(root).as_posix()
    if shift == os.curdir:
        return found
    paths = pc.binary_join_element_wise(shift, found.table["path"], "/")
    return replace(
        found,
        root=root,
        table=found.table.set_column(1, "path", paths),
        rejected=[replace(entry, path=f"{shift}/{entry.path}") for entry in found.rejected],
    )


def _names(table: pa.Table) -> tuple[list[str], list[str]]:
    return table["path"].to_pylist(), table["image_id"].to_pylist()


def _concat(tables: Sequence[pa.Table]) -> pa.Table:
    """Join tables row-wise; a column that one lacks is empty there, whole numbers become floats."""
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        kinds: dict[str, pa.DataType] = {}
        for table in tables:
            for field in table.schema:
                kind = kinds.setdefault(field.name, field.type)
                if {kind, field.type} - {pa.string()} and pa.string() in (kind, field.type):
                    raise InputError(
                        f"column `{field.name}` is {kind} in one source and {field.type} in "
                        "another; write it alike in both, or rename one"
                    ) from error
        raise InputError(f"the columns of the sources cannot be joined ({error})") from error
