"""Opaque ids: what a client calls a tile. File names often hold names of patients.

The id of a tile is a keyed hash of its image id: it stays the same over generations, says nothing,
and cannot be made without the key. Nothing that a client sends is ever used as a path.
"""

import hmac
import re
from typing import Final

import numpy as np

from histo_index.arrays import Int64
from histo_index.indexer.reader import OpenIndex

_BYTES: Final = 16
_SHAPE: Final = re.compile(r"[0-9a-f]{32}")


class OpaqueIds:
    """The opaque ids of the tiles of one generation."""

    def __init__(self, index: OpenIndex, key: bytes) -> None:
        """Compute the ids of all tiles: some 2 µs and 16 bytes each."""
        self._names = index.rows["image_id"]
        self._key = key
        live = index.live_rows()
        names = self._names.to_pylist()
        heads = np.fromiter(
            (int.from_bytes(self._digest(names[row])[:8]) for row in live.tolist()),
            np.uint64,
            len(live),
        )
        order = np.argsort(heads, kind="stable")
        self._heads, self._rows = heads[order], live[order]

    @property
    def rows(self) -> Int64:
        """All tiles in the order of their ids, which says nothing about their names, int64 [N]."""
        return self._rows

    def id_of(self, row: int) -> str:
        """Return the id of a tile."""
        return self.id_of_name(self._names[row].as_py())

    def id_of_name(self, image_id: str) -> str:
        """Return the id of the tile with an image id."""
        return self._digest(image_id).hex()

    def row_of(self, given: str) -> int | None:
        """Return the tile of an id; None if it is not one of this index."""
        if not _SHAPE.fullmatch(given):
            return None
        digest = bytes.fromhex(given)
        head = np.uint64(int.from_bytes(digest[:8]))
        first, last = (int(np.searchsorted(self._heads, head, side)) for side in ("left", "right"))
        for row in self._rows[first:last].tolist():
            if hmac.compare_digest(self._digest(self._names[row].as_py()), digest):
                return int(row)
        return None

    def _digest(self, name: str) -> bytes:
        return hmac.digest(self._key, name.encode(), "sha256")[:_BYTES]
