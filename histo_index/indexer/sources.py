"""Where tiles come from: folders, single files, or a manifest that lists them.

Every input ends in exactly one of three places: a row of the tile table, the rejected list with its
reason, or (files of a folder that are no images by their name) the count of ignored files.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pyarrow as pa

from histo_index.errors import InputError
from histo_index.indexer.tables import read_table

SUFFIXES: Final = frozenset((".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"))
LIST_SUFFIXES: Final = frozenset((".csv", ".tsv", ".parquet"))
# Columns that the index writes itself.
RESERVED: Final = frozenset(("sha256", "width", "height", "note", "embedding", "stem"))


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """An input that cannot be used.

    Attributes:
        path: relative to the source root where possible.
        sha256: of its content; empty if it could not be read.
        reason: one line.
    """

    path: str
    reason: str
    sha256: str = ""


@dataclass(kw_only=True)
class TileList:
    """What a build was pointed at.

    Attributes:
        root: the folder that paths are relative to.
        table: a row per tile: `image_id`, `path`, then the user's own columns.
        rejected: inputs that cannot even be listed.
        ignored: files of a folder that are no images by their name.
    """

    root: Path
    table: pa.Table
    rejected: list[Rejection] = field(default_factory=list)
    ignored: int = 0


def list_tiles(sources: Sequence[Path], manifest: Path | None = None) -> TileList:
    """List the tiles of a build.

    Args:
        sources: folders (searched through), image files, or one manifest. With `manifest`, at
            most one folder: the one that the manifest's paths are relative to.
        manifest: CSV, TSV or Parquet with a `path` column; paths are relative to its own folder
            unless a source folder is given. `image_id`, if present, names the tiles; every other
            column is kept beside the embedding.

    Raises:
        InputError: a source is missing, or the manifest cannot be used as a whole.
    """
    for source in sources:
        if not source.exists():
            raise InputError(f"{source}: no such file or folder")
    if manifest is None and len(sources) == 1 and sources[0].suffix.lower() in LIST_SUFFIXES:
        sources, manifest = [], sources[0]
    if manifest is not None:
        if len(sources) > 1 or not all(source.is_dir() for source in sources):
            raise InputError(
                f"with the manifest {manifest} pass at most one folder, which its paths start from"
            )
        return _list_manifest(manifest, root=sources[0] if sources else manifest.parent)
    if not sources:
        raise InputError("no tiles given; pass a folder, image files or a manifest")
    return _list_folders(sources)


def _list_folders(sources: Sequence[Path]) -> TileList:
    # The sources themselves may be links; what they hold may not lead out of them.
    resolved = [source.resolve() for source in sources]
    root = Path(os.path.commonpath([p if p.is_dir() else p.parent for p in resolved]))
    found = TileList(root=root, table=pa.table({}))
    seen: set[str] = set()
    for source in resolved:
        for path in _walk(source, found) if source.is_dir() else [source]:
            name = path.relative_to(root).as_posix()
            if (problem := _unusable_name(name)) is not None:
                found.rejected.append(Rejection(path=_printable(name), reason=problem))
            elif name not in seen:
                seen.add(name)
    paths = pa.array(sorted(seen), pa.string())
    found.table = pa.table({"image_id": paths, "path": paths})
    return found


def _walk(folder: Path, found: TileList) -> Iterator[Path]:
    """Find image files below a folder, not through linked folders, not in hidden ones."""

    def unreadable(error: OSError) -> None:
        path = Path(os.fsdecode(error.filename))
        reason = f"folder cannot be read ({error.strerror})"
        found.rejected.append(Rejection(path=_relative(path, found.root), reason=reason))

    for place, folders, files in os.walk(folder, onerror=unreadable):
        here = Path(place)
        for name in [name for name in folders if (here / name).is_symlink()]:
            reason = "a linked folder is not followed; pass it as a source of its own"
            path = _relative(here / name, found.root)
            found.rejected.append(Rejection(path=path, reason=reason))
        folders[:] = [name for name in folders if not name.startswith(".")]
        folders[:] = [name for name in folders if not name.endswith(".hx")]
        for name in files:
            if name.startswith(".") or Path(name).suffix.lower() not in SUFFIXES:
                found.ignored += 1
            elif (problem := _leads_out(here / name, found.root)) is not None:
                path = _relative(here / name, found.root)
                found.rejected.append(Rejection(path=path, reason=problem))
            else:
                yield here / name


def _list_manifest(manifest: Path, *, root: Path) -> TileList:
    table = read_table(manifest)
    if "path" not in table.column_names:
        raise InputError(
            f"{manifest}: no column `path`; found {', '.join(table.column_names[:8]) or 'none'}"
        )
    reserved = sorted(RESERVED & set(table.column_names))
    if reserved:
        raise InputError(f"{manifest}: column `{reserved[0]}` is written by the index; rename it")
    root = root.resolve()
    found = TileList(root=root, table=table)
    paths = [str(path or "") for path in table["path"].to_pylist()]
    ids = None
    if "image_id" in table.column_names:
        ids = ["" if name is None else str(name) for name in table["image_id"].to_pylist()]
    kept, names, identities = _accept_rows(paths, ids, found)
    columns = {"image_id": pa.array(identities, pa.string()), "path": pa.array(names, pa.string())}
    rows = table.take(pa.array(kept, pa.int64()))
    for name in table.column_names:
        if name not in columns:
            columns[name] = rows[name]
    found.table = pa.table(columns)
    return found


def _accept_rows(
    paths: list[str], ids: list[str] | None, found: TileList
) -> tuple[list[int], list[str], list[str]]:
    """Keep manifest rows with a usable path and an identity of their own; reject the others."""
    kept, names, identities = [], [], []
    seen_paths: set[str] = set()
    seen_ids: set[str] = set()
    for row, path in enumerate(paths):
        name = _relative(found.root / path, found.root) if path else ""
        identity = name if ids is None else ids[row]
        reason = _row_problem(path, name, found.root)
        if reason is None and name in seen_paths:
            reason = "listed twice in the manifest"
        elif reason is None and (not identity or identity in seen_ids):
            reason = f"image_id {identity!r} is empty or already another tile's"
        if reason is not None:
            found.rejected.append(Rejection(path=_printable(path), reason=reason))
            continue
        seen_paths.add(name)
        seen_ids.add(identity)
        kept.append(row)
        names.append(name)
        identities.append(identity)
    return kept, names, identities


def _row_problem(path: str, name: str, root: Path) -> str | None:
    if not path:
        return "the manifest row has no path"
    if Path(name).is_absolute():
        return f"lies outside {root.name}; pass the folder that holds it beside --manifest"
    return _unusable_name(name) or _leads_out(root / name, root)


def _leads_out(path: Path, root: Path) -> str | None:
    """Refuse a path whose target lies outside the root, however it gets there."""
    try:
        target = path.resolve()
    except (OSError, RuntimeError, ValueError):
        # RuntimeError: a loop of links, before Python 3.13; ValueError: a zero byte in the name.
        return "not a usable path, or a symbolic link that leads nowhere"
    if not target.is_relative_to(root):
        return "a symbolic link out of the source folder"
    return None


def _relative(path: Path, root: Path) -> str:
    # normpath, not resolve: `a/../b.png` is `b.png`, but a link keeps its own name.
    normal = Path(os.path.normpath(path))
    name = normal.relative_to(root) if normal.is_relative_to(root) else normal
    return _printable(name.as_posix())


def _unusable_name(name: str) -> str | None:
    try:
        name.encode()
    except UnicodeEncodeError:
        return "the file name is not UTF-8; rename it"
    return None


def _printable(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()
