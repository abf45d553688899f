"""A tree in a Zarr store, an untrusted folder; see `tree.Tree`.

The description of each array is checked before Zarr opens it: old stores may name a codec that
unpickles, which is code. Links are not followed.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from histo_index.errors import InputError
from histo_index.features.containers.part import (
    Blocks,
    Numbers,
    one_line,
    require_chunk,
    require_no_bomb,
    rows_per_block,
)
from histo_index.wording import printable

_SAFE: Final = frozenset(
    ("blosc", "zstd", "gzip", "zlib", "lz4", "bz2", "lzma", "shuffle", "delta", "vlen-utf8",
     "bytes", "crc32c", "transpose", "sharding_indexed")
)  # fmt: skip
_MOST_JSON: Final = 10_000_000
_FAULTS: Final = (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError, IndexError)
_TEXT: Final = "|O"


class ZarrTree:
    """Groups and arrays of a store, of format 2 or 3."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.name = str(folder)

    def attributes(self, path: str) -> Mapping[str, Any]:
        node = self._locate(path)
        found = _read_json(node / "zarr.json").get("attributes") or _read_json(node / ".zattrs")
        return found if isinstance(found, dict) else {}

    def children(self, path: str) -> list[str]:
        """List the groups and arrays of a group, sorted."""
        node = self._locate(path)
        if not node.is_dir():
            return []
        return sorted(
            entry.name for entry in os.scandir(node) if entry.is_dir(follow_symlinks=False)
        )

    def file(self, path: str) -> Path | None:
        """Locate a file in the store that is no part of Zarr; None if there is none."""
        place = self._locate(path)
        return place if place.is_file() else None

    def shape(self, path: str) -> tuple[tuple[int, ...], Any] | None:
        found = self._describe(path)
        return None if found is None else (found[0], found[1])

    def read(self, path: str) -> Numbers:
        array = self._open(path)
        try:
            return np.asarray(array[...])
        except _FAULTS as error:
            raise InputError(f"{self._where(path)}: damaged ({one_line(error)})") from error

    def blocks(self, path: str, rows: int, size: int) -> Blocks:
        array = self._open(path)
        step = rows_per_block(size, array.dtype.itemsize, min(array.chunks[0], max(rows, 1)))
        for start in range(0, rows, step):
            try:
                yield np.asarray(array[start : min(start + step, rows)]), None
            except _FAULTS as error:
                raise InputError(
                    f"{self._where(path)}: cannot be read from row {start:,} on ({one_line(error)})"
                ) from error

    def _where(self, path: str) -> str:
        return f"{self.name}: {printable(path)}"

    def _locate(self, path: str) -> Path:
        place = self._folder
        for part in filter(None, path.split("/")):
            if part in (".", ".."):
                raise InputError(f"{self._where(path)}: leads out of the store")
            place /= part
            if place.is_symlink():
                raise InputError(f"{self._where(path)}: a link to elsewhere is not followed")
        return place

    def _describe(self, path: str) -> tuple[tuple[int, ...], Any, Literal[2, 3]] | None:
        """Check the description of an array: shape, type and format; None if there is none."""
        node, where = self._locate(path), self._where(path)
        new, old = _read_json(node / "zarr.json"), _read_json(node / ".zarray")
        document = new if new.get("node_type") == "array" else old
        if not document:
            return None
        try:
            shape = tuple(int(n) for n in document["shape"])
            kind = document.get("data_type", document.get("dtype"))
            dtype = np.dtype(object) if kind in ("string", _TEXT) else np.dtype(kind)
            grid = document.get("chunk_grid", {}).get("configuration", {})
            chunks = [int(n) for n in grid.get("chunk_shape") or document["chunks"]]
            codecs = list(_codec_names(document))
        except _FAULTS as error:
            raise InputError(f"{where}: not described as Zarr does ({one_line(error)})") from error
        if foreign := sorted(set(codecs) - _SAFE):
            raise InputError(
                f"{where}: packed by the codec {printable(foreign[0])[:40]}, which is not run; "
                f"expected one of {', '.join(sorted(_SAFE)[:6])} and others"
            )
        if min(shape, default=1) < 0 or min(chunks, default=1) < 1:
            raise InputError(f"{where}: an array of {list(shape)} in chunks of {chunks}")
        itemsize = max(dtype.itemsize, 1)
        require_chunk(where, int(np.prod(chunks, dtype=object)) * itemsize)
        claimed = int(np.prod(shape, dtype=object)) * itemsize
        require_no_bomb(where, claimed=claimed, stored=_stored_bytes(node, where))
        return shape, dtype, 3 if document is new else 2

    def _open(self, path: str) -> Any:
        described = self._describe(path)
        if described is None:
            raise InputError(f"{self._where(path)}: no such array")
        import zarr

        # Threads reserve memory, which is limited.
        zarr.config.set({"threading.max_workers": 1, "async.concurrency": 1})
        try:
            return zarr.open_array(
                store=str(self._locate(path)), mode="r", zarr_format=described[2]
            )
        except _FAULTS as error:
            raise InputError(f"{self._where(path)}: damaged ({one_line(error)})") from error


def _codec_names(document: Any) -> Iterator[str]:
    """Name every codec of an array, those inside shards too."""
    if isinstance(document, list):
        for entry in document:
            yield from _codec_names(entry)
        return
    if not isinstance(document, dict):
        return
    if document.get("storage_transformers"):
        yield "storage transformers"
    for key in ("codecs", "index_codecs", "filters", "compressor"):
        found = document.get(key)
        for codec in found if isinstance(found, list) else [found]:
            if isinstance(codec, dict):
                yield str(codec.get("name", codec.get("id")))
                yield from _codec_names(codec.get("configuration"))


def _stored_bytes(node: Path, where: str) -> int:
    """Return the size of all files of an array; a link is refused."""
    total = 0
    for place, folders, files in os.walk(node):
        for name in (*folders, *files):
            if os.path.islink(os.path.join(place, name)):
                raise InputError(f"{where}: a link to elsewhere is not followed")
        total += sum(os.path.getsize(os.path.join(place, name)) for name in files)
    return total


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if path.is_symlink() or path.stat().st_size > _MOST_JSON:
            return {}
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
