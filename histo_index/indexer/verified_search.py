"""Exact search in an open index."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from histo_index.indexer.opened import OpenIndex

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class VerifiedSearch:
    """Exact search that checks the vectors before it compares with them."""

    def __init__(self, index: "OpenIndex", exact: Any) -> None:
        self._index = index
        self._exact = exact

    def search(self, queries: Floats, count: int, allowed: Bools | None = None) -> Rows:
        """Give the nearest rows; see `Structure`."""
        every = np.arange(len(self._index)) if allowed is None else np.flatnonzero(allowed)
        self._index.verify(every)
        found: Rows = self._exact.search(queries, count, allowed)
        return found
