"""One view of HDF5 files and Zarr stores, so that AnnData is read from both in one way."""

from collections.abc import Mapping
from typing import Any, Protocol

from histo_index.features.containers.part import Blocks, Numbers


class Tree(Protocol):
    """A tree of groups and arrays. Names are paths such as `obs/label`."""

    @property
    def name(self) -> str:
        """How messages call it."""

    def attributes(self, path: str) -> Mapping[str, Any]:
        """Return attributes of a node; empty if there is no such node."""

    def shape(self, path: str) -> tuple[tuple[int, ...], Any] | None:
        """Return shape and type of an array; None if there is none.

        Raises:
            InputError: it is not safe to read.
        """

    def read(self, path: str) -> Numbers:
        """Read a whole array; texts as objects.

        Raises:
            InputError: it is missing or damaged.
        """

    def blocks(self, path: str, rows: int, size: int) -> Blocks:
        """Read the rows of a matrix in order.

        Raises:
            InputError: it is damaged.
        """
