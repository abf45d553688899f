"""The `.npz` of slide2vec with its JSON.

slide2vec writes `tile_embeddings/NAME.npz` (`features` N×D) with `NAME.meta.json`, and
`tiles/NAME.coordinates.npz` (`x`, `y`) with `NAME.coordinates.meta.json`.
"""

import json
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from histo_index.errors import InputError
from histo_index.features.containers.numpy_stream import FAULTS, read_header, stream_rows
from histo_index.features.containers.part import (
    Blocks,
    Facts,
    Numbers,
    Part,
    one_line,
    require_matrix,
    require_no_bomb,
    slide_name,
    to_places,
)

COORDINATES: Final = ".coordinates.npz"
_META: Final = ".meta.json"
_MOST_JSON: Final = 10_000_000


def open_npz(path: Path, stack: ExitStack) -> Iterator[Part]:
    """Open what slide2vec wrote: features or coordinates.

    Raises:
        InputError: it is another kind of file, or damaged.
    """
    try:
        archive = stack.enter_context(zipfile.ZipFile(path))
        names = archive.namelist()
    except FAULTS as error:
        raise InputError(f"{path}: not a whole .npz file ({one_line(error)})") from error
    if path.name.endswith(COORDINATES):
        yield _coordinates(archive, path)
        return
    if "features.npy" not in names:
        raise InputError(f"{path}: no array `features`; expected the .npz of slide2vec")
    meta = read_meta(path)
    require_tiles(meta, path)
    with _open_member(archive, "features.npy", path) as member:
        shape, dtype = _member_header(member, path)
    rows, size = require_matrix(shape, dtype, f"{path}: features")
    if "tile_index.npy" in names:
        _require_in_order(_read_array(archive, "tile_index.npy", path), rows, path)
    yield Part(
        facts=Facts(
            path=str(path),
            tool="slide2vec",
            slide=slide_name(path),
            encoder=encoder_in(meta),
            rows=rows,
            size=size,
        ),
        blocks=partial(_read_member, archive, path, rows, size),
    )


def _require_in_order(tiles: Numbers, rows: int, path: Path) -> None:
    """Refuse embeddings of some tiles only, or in another order than their coordinates."""
    if not np.array_equal(tiles, np.arange(rows)):
        raise InputError(
            f"{path}: `tile_index` is not 0 to {rows - 1:,}: its rows are not those of the "
            "coordinates; write the embeddings of all tiles in order"
        )


def require_tiles(meta: dict[str, Any], path: Path) -> None:
    """Refuse embeddings of slides and patients.

    Raises:
        InputError: the file holds such.
    """
    kind = meta.get("artifact_type", "tile_embeddings")
    if kind != "tile_embeddings":
        raise InputError(f"{path}: holds {str(kind)[:60]!r}; expected tile_embeddings")


def encoder_in(meta: dict[str, Any]) -> str | None:
    """Return what the JSON of slide2vec calls the encoder."""
    name = meta.get("encoder_name")
    return name if isinstance(name, str) else None


def _coordinates(archive: zipfile.ZipFile, path: Path) -> Part:
    meta = read_meta(path)
    x, y = (_read_array(archive, f"{name}.npy", path) for name in ("x", "y"))
    if x.ndim != 1 or x.shape != y.shape:
        raise InputError(f"{path}: x {list(x.shape)} and y {list(y.shape)}; expected N of each")
    # Newer versions group the fields; older ones do not.
    tiling, slide = meta.get("tiling", meta), meta.get("slide", {})
    size = _number(tiling, "requested_tile_size_px") or _number(tiling, "target_tile_size_px")
    span, mpp = _number(tiling, "tile_size_lv0"), _number(tiling, "requested_spacing_um")
    if (base := _number(slide, "base_spacing_um")) and span and size:
        mpp = base * span / size
    return Part(
        facts=Facts(
            path=str(path),
            tool="slide2vec",
            slide=slide_name(path),
            rows=len(x),
            size=0,
            has_places=True,
            size_px=round(size) if size else None,
            span_px=span,
            mpp=mpp or _number(tiling, "target_spacing_um"),
        ),
        places=lambda: to_places(np.stack([x, y], axis=1), str(path)),
    )


def read_json(path: Path) -> dict[str, Any]:
    """Read a small JSON object.

    Raises:
        InputError: it is missing or none.
    """
    try:
        if path.stat().st_size > _MOST_JSON:
            raise ValueError("too large")
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not readable as JSON ({one_line(error)})") from error
    return document if isinstance(document, dict) else {}


def read_meta(path: Path) -> dict[str, Any]:
    """Read the JSON beside a file of slide2vec; empty without one.

    Raises:
        InputError: it is no JSON.
    """
    place = path.with_name(path.name.removesuffix(path.suffix) + _META)
    return read_json(place) if place.is_file() else {}


def _number(values: Any, name: str) -> float | None:
    value = values.get(name) if isinstance(values, dict) else None
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if 0 < value < 1e9 else None


def _open_member(archive: zipfile.ZipFile, name: str, path: Path) -> IO[bytes]:
    try:
        info = archive.getinfo(name)
        require_no_bomb(f"{path}: {name}", claimed=info.file_size, stored=info.compress_size)
        return archive.open(info)
    except FAULTS as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: {name}: cannot be read ({one_line(error)})") from error


def _member_header(member: IO[bytes], path: Path) -> tuple[tuple[int, ...], Any]:
    try:
        return read_header(member)
    except FAULTS as error:
        raise InputError(f"{path}: not an array of numbers ({one_line(error)})") from error


def _read_array(archive: zipfile.ZipFile, name: str, path: Path) -> Numbers:
    with _open_member(archive, name, path) as member:
        shape, dtype = _member_header(member, path)
        try:
            data = member.read()
        except FAULTS as error:
            raise InputError(f"{path}: {name}: damaged ({one_line(error)})") from error
    count = int(np.prod(shape, dtype=object))
    if dtype.kind not in "fiu" or len(data) != count * dtype.itemsize:
        raise InputError(f"{path}: {name}: not an array of {list(shape)} numbers")
    return np.frombuffer(data, dtype).reshape(shape)


def _read_member(archive: zipfile.ZipFile, path: Path, rows: int, size: int) -> Blocks:
    with _open_member(archive, "features.npy", path) as member:
        _, dtype = _member_header(member, path)
        try:
            for values in stream_rows(member, rows, size, dtype):
                yield values, None
        except FAULTS as error:
            raise InputError(f"{path}: features: damaged ({one_line(error)})") from error
