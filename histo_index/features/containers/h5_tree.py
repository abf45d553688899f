"""A tree in an HDF5 file; see `tree.Tree`."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from histo_index.errors import InputError
from histo_index.features.containers.hdf5 import (
    FAULTS,
    child_of,
    dataset_of,
    read_blocks,
    read_whole,
)
from histo_index.features.containers.part import Blocks, Numbers
from histo_index.wording import printable


class H5Tree:
    """Groups and datasets of an open file."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.name = str(file.filename)

    def attributes(self, path: str) -> Mapping[str, Any]:
        node = self._node(path)
        try:
            return {} if node is None else dict(node.attrs)
        except FAULTS:
            return {}

    def shape(self, path: str) -> tuple[tuple[int, ...], Any] | None:
        folder, _, name = path.rpartition("/")
        parent = self._node(folder)
        dataset = None if parent is None or hasattr(parent, "shape") else dataset_of(parent, name)
        return None if dataset is None else (dataset.shape, dataset.dtype)

    def read(self, path: str) -> Numbers:
        return read_whole(self._dataset(path))

    def blocks(self, path: str, rows: int, size: int) -> Blocks:
        return read_blocks(self._dataset(path), rows, size)

    def _dataset(self, path: str) -> Any:
        folder, _, name = path.rpartition("/")
        parent = self._node(folder)
        found = None if parent is None else dataset_of(parent, name)
        if found is None:
            raise InputError(f"{self.name}: no {printable(path)}")
        return found

    def _node(self, path: str) -> Any:
        node = self._file
        for name in filter(None, path.split("/")):
            node = None if node is None or hasattr(node, "shape") else child_of(node, name)
        return node


def is_anndata(file: Any) -> bool:
    """Return whether a file says that it is AnnData."""
    try:
        return bool(np.asarray(file.attrs.get("encoding-type") == "anndata"))
    except FAULTS:
        return False
