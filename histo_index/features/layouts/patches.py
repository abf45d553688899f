"""HDF5 files of TRIDENT, CLAM and AtlasPatch: `features`, `coords` and attributes.

* TRIDENT: `features` N×D or 1×N×D and `coords` N×2, whose attributes give the size of a patch at
  the target magnification and at level 0. Coordinates alone in `*_patches.h5`.
* CLAM: `features` and `coords` without attributes; those of `coords` in the patch file: the size of
  a patch at its level, and the downsample of the level.
* AtlasPatch: `coords` N×5 (x, y, width and height read, level), `features/NAME`, attributes of the
  file as TRIDENT's.

Places are level-0 pixels in all three.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from histo_index.arrays import Int64
from histo_index.errors import InputError
from histo_index.features.containers.hdf5 import (
    child_of,
    dataset_of,
    read_blocks,
    read_number,
    read_whole,
)
from histo_index.features.containers.part import (
    Facts,
    Part,
    require_matrix,
    slide_name,
    to_places,
)
from histo_index.wording import printable

_FOLDER = "features_"


def open_patches(file: Any, path: Path) -> Iterator[Part]:
    """Open the parts of a file: each matrix of features, or its places alone.

    Raises:
        InputError: it holds neither, or what it holds cannot be used.
    """
    coords = dataset_of(file, "coords")
    node = child_of(file, "features")
    places = None if coords is None else partial(_read_places, coords, path)
    shared: dict[str, Any] = {
        "path": str(path),
        "slide": slide_name(path),
        **_geometry(file, coords),
    }
    if node is None:
        if coords is None:
            others = ", ".join(printable(name) for name in list(file)[:5]) or "nothing"
            raise InputError(f"{path}: no `features` and no `coords`; found {others}")
        yield Part(
            facts=Facts(**shared, rows=_count_places(coords, path), size=0, has_places=True),
            places=places,
        )
        return
    names = [("", "features")] if hasattr(node, "shape") else [(f"features/{n}", n) for n in node]
    for part, name in names:
        dataset = dataset_of(node if part else file, name)
        if dataset is None:
            continue
        where = f"{path}: {printable(part or name)}"
        rows, size = require_matrix(dataset.shape, dataset.dtype, where)
        if coords is not None and (found := _count_places(coords, path)) != rows:
            raise InputError(f"{where}: {rows:,} rows, but `coords` has {found:,}")
        encoder = name if part else encoder_of(path)
        shape: dict[str, Any] = {"rows": rows, "size": size, "has_places": coords is not None}
        yield Part(
            facts=Facts(**shared, part=part, encoder=encoder, **shape),
            blocks=partial(read_blocks, dataset, rows, size),
            places=places,
        )


def encoder_of(path: Path) -> str | None:
    """Return what TRIDENT calls the encoder in the folder's name."""
    name = path.parent.name
    return name.removeprefix(_FOLDER) if name.startswith(_FOLDER) else None


def _geometry(file: Any, coords: Any) -> dict[str, Any]:
    """Read the size of a patch in its own pixels and in those of level 0."""
    sources = [node.attrs for node in (coords, file) if node is not None]

    def number(name: str) -> float | None:
        found = (read_number(source, name) for source in sources)
        return next((value for value in found if value is not None), None)

    side, span, level = number("patch_size"), number("patch_size_level0"), number("patch_level")
    tool = "AtlasPatch" if "passports" in file else "TRIDENT"
    if span is None:
        tool = "CLAM" if level is not None else "CLAM or TRIDENT"
        downsample = number("downsample") or (1.0 if level == 0 else None)
        span = side * downsample if side and downsample else None
        side = side / (number("custom_downsample") or 1) if side else None
    return {
        "tool": tool,
        "size_px": round(side) if side and side >= 1 else None,
        "span_px": span if span and span >= 1 else None,
    }


def _count_places(coords: Any, path: Path) -> int:
    shape = coords.shape[1:] if coords.ndim == 3 and coords.shape[0] == 1 else coords.shape
    if len(shape) != 2 or shape[1] < 2:
        raise InputError(f"{path}: coords: {list(shape)}; expected the place of each tile, N×2")
    return int(shape[0])


def _read_places(coords: Any, path: Path) -> Int64:
    return to_places(read_whole(coords), f"{path}: coords")
