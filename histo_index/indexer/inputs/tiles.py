"""Where tiles come from: folders, single files, or a manifest that lists them.

Every input is counted exactly once: a row of the tile table, the rejected list with its
reason, or (files of a folder that are no images by their name) the count of ignored files. Hidden
folders and indexes (`*.hx`) below a source are no input at all.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

import pyarrow as pa

from histo_index.errors import InputError
from histo_index.indexer.format.shards import Rejection
from histo_index.indexer.inputs.manifest_base import choose_base
from histo_index.indexer.inputs.safe_paths import leads_out, printable_name, unusable_name
from histo_index.indexer.inputs.tables import read_table
from histo_index.slides.reading.identity import SLIDE_SUFFIXES, file_part, is_slide_name
from histo_index.slides.tiling.find import is_dicom_folder, skip_data_folders
from histo_index.wording import counted, printable

SUFFIXES: Final = frozenset((".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"))
LIST_SUFFIXES: Final = frozenset((".csv", ".tsv", ".parquet"))
# Columns that the index writes itself.
RESERVED: Final = frozenset(("sha256", "width", "height", "note", "embedding", "stem"))

# How the reason of a folder that cannot be listed begins.
UNREADABLE_FOLDER: Final = "folder cannot be read"

# What `_walk` says of a file that is not rejected.
_TILE: Final = ""
_IGNORED: Final = "ignored"
_SLIDE: Final = "slide"
_NEEDS_MPP: Final = "a slide: pass --mpp, such as --mpp 0.5, to cut it into tiles"


@dataclass(kw_only=True)
class TileList:
    """What a build was pointed at.

    Attributes:
        root: the folder that paths are relative to.
        table: a row per tile: `image_id`, `path`, then the user's own columns.
        rejected: inputs that cannot even be listed.
        ignored: files of a folder that are no images by their name.
        has_own_ids: image ids are those of the manifest, not paths.
        tried: where the first file of a manifest was looked for, if none of its files was found.
    """

    root: Path
    table: pa.Table
    rejected: list[Rejection] = field(default_factory=list)
    ignored: int = 0
    has_own_ids: bool = False
    tried: tuple[Path, ...] = ()


def list_tiles(
    sources: Sequence[Path],
    manifest: Path | None = None,
    *,
    base: Path | None = None,
    slides: bool = False,
) -> TileList:
    """List the tiles of a build.

    Args:
        sources: folders (searched through), image files, or one manifest. With `manifest`, at
            most one folder that the manifest's paths may be relative to.
        manifest: CSV, TSV or Parquet with a `path` column. Paths are relative to the source folder,
            to the manifest's own folder or to the working directory: where most files are found,
            the first of equals. `image_id`, if present, names the tiles; every other column is kept
            beside the embedding.
        base: the folder that paths started from when this was listed before; None to choose it.
        slides: list slides as rows, to be cut; they are rejected otherwise.

    Raises:
        InputError: a source is missing, or the manifest cannot be used as a whole.
    """
    for source in sources:
        if not source.exists():
            raise InputError(f"{source}: no such file or folder")
    sources, manifest = split_manifest(sources, manifest)
    if manifest is not None:
        if len(sources) > 1 or not all(source.is_dir() for source in sources):
            raise InputError(
                f"with the manifest {manifest} pass at most one folder, which its paths start from"
            )
        own = [*([base] if base else []), *sources, manifest.parent, Path.cwd()]
        return _list_manifest(manifest, bases=own)
    if not sources:
        raise InputError("no tiles given; pass a folder, image files or a manifest")
    return _list_folders(sources, base, slides=slides)


def split_manifest(
    sources: Sequence[Path], manifest: Path | None
) -> tuple[Sequence[Path], Path | None]:
    """Treat a single table as the manifest."""
    if manifest is None and len(sources) == 1 and sources[0].suffix.lower() in LIST_SUFFIXES:
        return [], sources[0]
    return sources, manifest


def nothing_usable(
    inputs: Sequence[Path],
    rejected: Sequence[Rejection],
    left_out: Mapping[str, int] = MappingProxyType({}),
) -> str:
    """Format why a build has no tiles, for an error message.

    Args:
        inputs: what was named.
        rejected: what cannot be used.
        left_out: reason to number of tiles that were removed before.
    """
    names = ", ".join(str(source) for source in inputs)
    if left_out:
        reasons = ", ".join(f"{count:,} × {reason}" for reason, count in left_out.items())
        return (
            f"{names}: no tile is left, and nothing was changed: {reasons}; pass other tiles, or "
            "see `histo-index restore`"
        )
    if not rejected and inputs[-1].suffix.lower() in LIST_SUFFIXES:
        return f"{names}: lists no tiles; expected a row for each"
    if not rejected:
        return f"{names}: no images found; expected PNG, JPEG, TIFF, BMP or WebP files"
    first = rejected[0]
    return (
        f"{names}: none of {counted(len(rejected), 'image')} can be used, and nothing was changed; "
        f"the first: {first.path}: {first.reason}"
    )


def _list_folders(sources: Sequence[Path], base: Path | None, *, slides: bool) -> TileList:
    # The sources themselves may be links; what they hold may not lead out of them.
    resolved = [source.resolve() for source in sources]
    is_folder = [path.is_dir() and not _is_dicom(path) for path in resolved]
    folders = [
        path if is_searched else path.parent
        for path, is_searched in zip(resolved, is_folder, strict=True)
    ]
    root = Path(os.path.commonpath(folders if base is None else [*folders, base.resolve()]))
    # By name, so that what is found twice counts once. A file that is named itself is a tile.
    found: dict[str, str] = {}
    for path, is_searched in zip(resolved, is_folder, strict=True):
        if is_searched:
            found.update(_walk(path, root))
    for path, is_searched in zip(resolved, is_folder, strict=True):
        if not is_searched:
            name = path.relative_to(root).as_posix()
            is_slide = is_slide_name(name) or path.is_dir()
            found[name] = unusable_name(name) or (_SLIDE if is_slide else _TILE)
    found = {
        name: (_TILE if slides else _NEEDS_MPP) if what == _SLIDE else what
        for name, what in found.items()
    }
    paths = pa.array(sorted(name for name, what in found.items() if what == _TILE), pa.string())
    return TileList(
        root=root,
        table=pa.table({"image_id": paths, "path": paths}),
        rejected=[
            Rejection(path=printable_name(name), reason=what)
            for name, what in found.items()
            if what not in (_TILE, _IGNORED)
        ],
        ignored=sum(what == _IGNORED for what in found.values()),
    )


def _is_dicom(folder: Path) -> bool:
    """Return whether a folder is a DICOM slide; one that cannot be listed is not."""
    try:
        return is_dicom_folder(os.listdir(folder))
    except OSError:
        return False


def _walk(folder: Path, root: Path) -> Iterator[tuple[str, str]]:
    """Find what lies below a folder, not through linked folders, not in hidden ones.

    Yields:
        A name relative to the root, and _TILE, _SLIDE, _IGNORED or why it is rejected.
    """
    unreadable: list[OSError] = []
    for inside, folders, files in os.walk(folder, onerror=unreadable.append):
        here = Path(inside)
        folders[:] = skip_data_folders(folders, files)
        if is_dicom_folder(files):
            folders.clear()
            yield here.relative_to(root).as_posix(), _SLIDE
            continue
        for name in folders:
            # Where a path is too long to be asked about, listing what lies there will say so.
            if os.path.islink(here / name):
                reason = "a linked folder is not followed; pass it as a source of its own"
                yield (here / name).relative_to(root).as_posix(), reason
        below = here.relative_to(root).parts
        for name in files:
            path = "/".join((*below, name))
            suffix = os.path.splitext(name)[1].lower()
            if name.startswith(".") or suffix not in SUFFIXES | SLIDE_SUFFIXES:
                yield path, _IGNORED
            else:
                kind = _SLIDE if suffix in SLIDE_SUFFIXES else _TILE
                yield path, unusable_name(path) or leads_out(inside, name, root) or kind
    for error in unreadable:
        path = Path(os.fsdecode(error.filename)).relative_to(root).as_posix()
        yield path, f"{UNREADABLE_FOLDER} ({error.strerror})"


def _list_manifest(manifest: Path, *, bases: Sequence[Path]) -> TileList:
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
