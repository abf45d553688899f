"""The map of one state of the index, made once for all who ask."""

import hashlib
import math
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from histo_index.arrays import Int64
from histo_index.indexer.format.manifest import MAP_NAME
from histo_index.search.maps.file import read_map
from histo_index.search.maps.make import Places, places_of
from histo_index.serve.safety.refusal import RefusalError, busy
from histo_index.serve.state.snapshot import Snapshot

# Points that a browser gets; of more tiles, random ones.
MOST_POINTS: Final = 1_000_000
_NONE: Final = "the index has no map; run `histo-index map`"
_RETRY_S: Final = 3


@dataclass(frozen=True, kw_only=True)
class MapBox:
    """A part of the map; y grows upwards.

    Attributes:
        left: smallest x.
        bottom: smallest y.
        right: largest x.
        top: largest y.
    """

    left: float
    bottom: float
    right: float
    top: float

    @classmethod
    def read(cls, text: str) -> Self:
        """Read `left,bottom,right,top`.

        Raises:
            RefusalError: it is no box.
        """
        try:
            left, bottom, right, top = (float(part) for part in text.split(","))
        except ValueError:
            left = math.nan
        if not (
            math.isfinite(left)
            and left <= right < math.inf
            and -math.inf < bottom <= top < math.inf
        ):
            raise RefusalError(422, "box: expected left,bottom,right,top")
        return cls(left=left, bottom=bottom, right=right, top=top)

    @property
    def text(self) -> str:
        """The box as `read` reads it."""
        return ",".join(f"{edge:.6g}" for edge in (self.left, self.bottom, self.right, self.top))


@dataclass(frozen=True, kw_only=True)
class MapView(Places):
    """Every tile on the map, in the order of the opaque ids, which says nothing of their names.

    Attributes:
        tag: changes with the index and with the map.
    """

    tag: str

    @property
    def bounds(self) -> MapBox:
        """The smallest box around all tiles."""
        (left, bottom), (right, top) = self.points.min(axis=0), self.points.max(axis=0)
        return MapBox(left=float(left), bottom=float(bottom), right=float(right), top=float(top))

    def inside(self, box: MapBox) -> Int64:
        """Find the tiles in a box, edges included: int64 [n], positions."""
        x, y = self.points[:, 0], self.points[:, 1]
        is_in = (x >= box.left) & (x <= box.right) & (y >= box.bottom) & (y <= box.top)
        return np.flatnonzero(is_in)


class Maps:
    """Reads the map of each state of the index once, on its own thread."""

    def __init__(self, make: "Callable[[Snapshot, str], MapView] | None" = None) -> None:
        """Read nothing yet; `make` reads the map of a state under a tag."""
        self._make = make or make_view
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="map")
        self._lock = threading.Lock()
        self._tag = ""
        self._made: Future[MapView] | None = None

    def get(self, snapshot: Snapshot, wait_s: float) -> MapView:
        """Return the map.

        Raises:
            RefusalError: there is none, or tiles are still being placed on it.
            HistoIndexError: it is damaged, or was made for another index.
        """
        tag = _tag(snapshot)
        with self._lock:
            if self._made is None or self._tag != tag:
                self._tag = tag
                self._made = self._threads.submit(self._make, snapshot, tag)
            made = self._made
        try:
            return made.result(wait_s)
        except TimeoutError:
            raise busy(_RETRY_S) from None

    def close(self) -> None:
        """Wait for the map that is being read."""
        self._threads.shutdown(cancel_futures=True)


def _tag(snapshot: Snapshot) -> str:
    try:
        found = os.stat(snapshot.opened.folder / MAP_NAME)
    except OSError:
        raise RefusalError(404, _NONE) from None
    state: Sequence[int] = (found.st_ino, found.st_size, found.st_mtime_ns)
    return f"{snapshot.tag}-{hashlib.sha256(repr(state).encode()).hexdigest()[:12]}"


def make_view(snapshot: Snapshot, tag: str) -> MapView:
    """Read the map of an index and place the tiles that it lacks.

    Raises:
        RefusalError: there is none.
        HistoIndexError: it is damaged, or was made for another index.
    """
    stored = read_map(snapshot.opened.folder)
    if stored is None:
        raise RefusalError(404, _NONE)
    places = places_of(snapshot.opened, stored)
    rows = snapshot.ids.rows
    at = np.searchsorted(places.rows, rows)
    return MapView(
        tag=tag, rows=rows, points=places.points[at], nearest=places.nearest[at],
        facts=places.facts, placed=places.placed,
    )  # fmt: skip
