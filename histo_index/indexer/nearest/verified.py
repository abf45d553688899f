"""Exact search that checks the vectors before it compares with them."""

from collections.abc import Callable
from typing import Any

import numpy as np

from histo_index.arrays import Bools, Float32, Int64


class VerifiedSearch:
    """Exact search in vectors whose blocks are checked first."""

    def __init__(self, exact: Any, rows: int, verify: Callable[[Int64], None]) -> None:
        """Wrap an exact search.

        Args:
            exact: what compares.
            rows: N, vectors there are.
            verify: checks the blocks that some rows lie in, and raises where one is damaged.
        """
        self._exact = exact
        self._rows = rows
        self._verify = verify

    def search(self, queries: Float32, count: int, allowed: Bools | None = None) -> Int64:
        """Return the nearest rows; see `Structure`."""
        self._verify(np.arange(self._rows) if allowed is None else np.flatnonzero(allowed))
        found: Int64 = self._exact.search(queries, count, allowed)
        return found
