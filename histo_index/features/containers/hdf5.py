"""Open untrusted HDF5 files: nothing outside the file is read, no plugin is loaded."""

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

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

# deflate, shuffle, fletcher32, szip, nbit, scale-offset of the library itself, and lzf of h5py.
_FILTERS: Final = frozenset((1, 2, 3, 4, 5, 6, 32000))
# What h5py raises on damaged files.
FAULTS: Final = (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError)
_MOST_VALUES: Final = 16


def open_h5(path: Path, stack: ExitStack) -> Any:
    """Open a file.

    Raises:
        InputError: it is no HDF5 file, or damaged.
    """
    # Read by the library when it is loaded: a filter would be code of whoever sets the path.
    os.environ["HDF5_PLUGIN_PRELOAD"] = "::"
    import h5py

    try:
        # Each chunk is read once; without a cache it goes to its place at once.
        return stack.enter_context(h5py.File(path, "r", rdcc_nbytes=0))
    except FAULTS as error:
        raise InputError(f"{path}: not a whole HDF5 file ({one_line(error)})") from error


def child_of(group: Any, name: str) -> Any:
    """Return a dataset or group of a group; None if there is none.

    Raises:
        InputError: it is a link to elsewhere, or damaged.
    """
    import h5py

    where = f"{group.file.filename}: {printable(name)}"
    try:
        link = group.get(name, getlink=True)
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            raise InputError(f"{where}: a link to elsewhere is not followed")
        return group[name]
    except FAULTS as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{where}: damaged ({one_line(error)})") from error


def dataset_of(group: Any, name: str) -> Any:
    """Return a dataset of a group that is safe to read; None if there is none.

    Raises:
        InputError: it lies in another file, needs a plugin, or claims more than it holds.
    """
    import h5py

    found = child_of(group, name)
    if not isinstance(found, h5py.Dataset):
        return None
    where = f"{group.file.filename}: {printable(name)}"
    if found.is_virtual or found.external:
        raise InputError(f"{where}: its numbers lie in other files, which are not read")
    try:
        plist = found.id.get_create_plist()
        filters = {plist.get_filter(number)[0] for number in range(plist.get_nfilters())}
        stored, itemsize = found.id.get_storage_size(), found.dtype.itemsize
    except FAULTS as error:
        raise InputError(f"{where}: damaged ({one_line(error)})") from error
    if foreign := sorted(filters - _FILTERS):
        raise InputError(
            f"{where}: packed by HDF5 filter {foreign[0]}, a plugin, which is not loaded; "
            "write it again with `h5repack -f GZIP=1`"
        )
    require_no_bomb(where, claimed=int(found.size) * itemsize, stored=stored)
    if found.chunks:
        require_chunk(where, int(np.prod(found.chunks, dtype=object)) * itemsize)
    return found


def read_whole(dataset: Any) -> Numbers:
    """Read a small dataset.

    Raises:
        InputError: it is damaged.
    """
    try:
        found: Numbers = np.asarray(dataset[()])
        return found
    except FAULTS as error:
        raise InputError(_damaged(dataset, error)) from error


def read_blocks(dataset: Any, rows: int, size: int) -> Blocks:
    """Read the rows of N×D or 1×N×D in order.

    Raises:
        InputError: a chunk is damaged.
    """
    is_nested = dataset.ndim == 3
    chunk_rows = dataset.chunks[-2] if dataset.chunks else 1
    step = rows_per_block(size, dataset.dtype.itemsize, min(chunk_rows, max(rows, 1)))
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        try:
            block = _allocate((stop - start, size), dataset)
            dataset.read_direct(block, np.s_[0, start:stop] if is_nested else np.s_[start:stop])
            yield block, None
        except FAULTS as error:
            raise InputError(_damaged(dataset, error)) from error


def _allocate(shape: tuple[int, int], dataset: Any) -> Numbers:
    """Allocate memory for rows; with zeros, which takes long, if the library may leave gaps."""
    import h5py

    leaves_gaps = dataset.id.get_create_plist().get_fill_time() == h5py.h5d.FILL_TIME_NEVER
    return (np.zeros if leaves_gaps else np.empty)(shape, dataset.dtype)


def read_number(attributes: Any, name: str, position: int = 0) -> float | None:
    """Return a number among attributes; None if there is none, or it is none."""
    try:
        if name not in attributes or attributes.get_id(name).get_storage_size() > 8 * _MOST_VALUES:
            return None
        value = float(np.ravel(attributes[name])[position])
    except (*FAULTS, IndexError):
        return None
    return value if np.isfinite(value) else None


def read_text(attributes: Any, name: str) -> str | None:
    """Return a text among attributes; None if there is none."""
    try:
        value = attributes.get(name)
    except FAULTS:
        return None
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    return value if isinstance(value, str) else None


def _damaged(dataset: Any, error: BaseException) -> str:
    name = printable(dataset.name.lstrip("/"))
    return f"{dataset.file.filename}: {name}: cannot be read ({one_line(error)})"
