"""List the images in folders."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa

from histo_index.indexer.format.shards import Rejection
from histo_index.indexer.inputs.safe_paths import leads_out, printable_name, unusable_name
from histo_index.indexer.inputs.tile_list import TileList
from histo_index.slides.reading.identity import SLIDE_SUFFIXES, is_slide_name
from histo_index.slides.tiling.find import is_dicom_folder, skip_data_folders

SUFFIXES: Final = frozenset((".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"))

# How the reason of a folder that cannot be listed begins.
UNREADABLE_FOLDER: Final = "folder cannot be read"

# What `_walk` says of a file that is not rejected.
_TILE: Final = ""
_IGNORED: Final = "ignored"
_SLIDE: Final = "slide"
# The reason of a slide that is not to be cut.
NEEDS_MPP: Final = "a slide: pass --mpp, such as --mpp 0.5, to cut it into tiles"


def list_folders(sources: Sequence[Path], base: Path | None, *, slides: bool) -> TileList:
    """List the tiles in folders, and image files that are named themselves.

    Args:
        sources: existing folders and files.
        base: the folder that paths started from when this was listed before; None to choose it.
        slides: list slides as rows, to be cut; they are rejected otherwise.
    """
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
        name: (_TILE if slides else NEEDS_MPP) if what == _SLIDE else what
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
                reason = "a linked folder is not followed; pass it as another source"
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
