"""List the tiles of a manifest."""

import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from histo_index.errors import InputError
from histo_index.indexer.format.shards import Rejection
from histo_index.indexer.inputs.manifest_base import choose_base
from histo_index.indexer.inputs.safe_paths import leads_out, printable_name, unusable_name
from histo_index.indexer.inputs.tables import read_table
from histo_index.indexer.inputs.tile_list import RESERVED, TileList
from histo_index.slides.reading.identity import file_part
from histo_index.wording import printable


def list_manifest(manifest: Path, *, bases: Sequence[Path]) -> TileList:
    """List the rows of a manifest that can be tiles; reject the others.

    Args:
        manifest: CSV, TSV or Parquet with a column `path`.
        bases: folders that its paths may start from; the one that fits most rows is taken.

    Raises:
        InputError: the manifest cannot be used as a whole.
    """
    table = read_table(manifest)
    if "path" not in table.column_names:
        columns = printable(", ".join(table.column_names[:8]))[:200]
        raise InputError(f"{manifest}: no column `path`; found {columns or 'none'}")
    reserved = sorted(RESERVED & set(table.column_names))
    if reserved:
        raise InputError(f"{manifest}: column `{reserved[0]}` is written by the index; rename it")
    paths = ["" if path is None else str(path) for path in table["path"].to_pylist()]
    root, tried = choose_base(paths, bases)
    if tried and any("\\" in path for path in paths):
        # As Windows writes paths; elsewhere a name may hold a backslash.
        paths = [path.replace("\\", "/") for path in paths]
        root, tried = choose_base(paths, bases)
    has_own_ids = "image_id" in table.column_names
    found = TileList(root=root.resolve(), table=table, has_own_ids=has_own_ids, tried=tried)
    # A path in full may name the root as the user does or as it really is.
    names_of_root = (Path(os.path.abspath(root)), found.root)
    names = [_relative(path, names_of_root) if path else "" for path in paths]
    ids = names
    if has_own_ids:
        ids = ["" if name is None else str(name) for name in table["image_id"].to_pylist()]
    kept = _accept_rows(paths, names, ids, found)
    rows = table.take(pa.array(kept, pa.int64()))
    own = [name for name in table.column_names if name not in ("image_id", "path")]
    found.table = pa.table(
        {
            "image_id": pa.array([ids[row] for row in kept], pa.string()),
            "path": pa.array([names[row] for row in kept], pa.string()),
            **{name: rows[name] for name in own},
        }
    )
    return found


def _accept_rows(
    paths: Sequence[str], names: Sequence[str], ids: Sequence[str], found: TileList
) -> list[int]:
    """Keep manifest rows with a usable path and a unique identity; reject the others."""
    kept: list[int] = []
    seen_names: set[str] = set()
    seen_ids: set[str] = set()
    for row, (path, name, identity) in enumerate(zip(paths, names, ids, strict=True)):
        reason = _row_problem(path, name, found.root)
        if reason is None and name in seen_names:
            reason = "listed twice in the manifest"
        elif reason is None and not identity:
            reason = "the manifest row has no image_id"
        elif reason is None and identity in seen_ids:
            reason = f"duplicate image_id: {identity}"
        if reason is not None:
            found.rejected.append(Rejection(path=printable_name(path), reason=reason))
            continue
        seen_names.add(name)
        seen_ids.add(identity)
        kept.append(row)
    return kept


def _row_problem(path: str, name: str, root: Path) -> str | None:
    if not path:
        return "the manifest row has no path"
    if Path(name).is_absolute():
        return "lies outside the folder that paths start from; pass another beside --manifest"
    return unusable_name(name) or leads_out(*os.path.split(root / file_part(name)), root)


def _relative(path: str, bases: Sequence[Path]) -> str:
    """Return a path relative to its base, else in full."""
    # normpath, not resolve: `a/../b.png` is `b.png`, but a link keeps its own name.
    normal = Path(os.path.normpath(bases[0] / path))
    base = next((base for base in bases if normal.is_relative_to(base)), None)
    return (normal.relative_to(base) if base else normal).as_posix()
