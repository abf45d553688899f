"""Tiles that touch on a slide: tissue goes on from one to the next, so they may be a pair."""

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from histo_index.encoder.training.batches.order import mix_seed

# Grids lie on whole pixels, and some leave out a seam: a gap of this share of a side is none.
_SEAM: Final = 0.05
# Of tiles that overlap so much that more lie together, the others are nobody's neighbours.
_MOST_TOGETHER: Final = 64
# Sets the draws apart from those of views, which follow from the same seed, epoch and tile.
_STREAM: Final = 0x4E65


class Place(NamedTuple):
    """Where a tile lies.

    Attributes:
        slide: any name of the slide.
        x: left edge, in any unit that the tiles of the slide share.
        y: upper edge.
        width: of the tile in that unit, above 0; tiles of one size are of one scale.
        height: of the tile in that unit, above 0.
    """

    slide: str
    x: float
    y: float
    width: float
    height: float

    def touches(self, other: "Place") -> bool:
        """Return whether tiles of one size have a side or corner in common, or overlap."""
        across = abs(self.x - other.x) / self.width
        down = abs(self.y - other.y) / self.height
        return 0 < max(across, down) <= 1 + _SEAM


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """The second view of a tile may be of a tile that touches it.

    Attributes:
        touching: of each tile those of the same slide and scale that touch it [N]; none for a tile
            whose place is unknown.
        share: chance that the second view of a tile with neighbours is of one of them.
        seed: of the run.
    """

    touching: Sequence[Sequence[int]]
    share: float
    seed: int

    @property
    def known(self) -> int:
        """Number of tiles with neighbours."""
        return sum(bool(others) for others in self.touching)

    def second(self, epoch: int, tile: int) -> int:
        """Return the tile of the second view; it follows from seed, epoch and tile alone."""
        others = self.touching[tile]
        if not others:
            return tile
        random = np.random.default_rng(mix_seed(self.seed, epoch, tile, _STREAM))
        if random.random() >= self.share:
            return tile
        return others[int(random.integers(len(others)))]

    def digest(self) -> str:
        """Hash who touches whom, for a check that a resumed run has the same."""
        return hashlib.sha256(repr([list(others) for others in self.touching]).encode()).hexdigest()


def find_touching(places: Sequence[Place | None]) -> list[tuple[int, ...]]:
    """Find the tiles that touch each tile: of the same slide, and of the same size.

    Args:
        places: of the tiles [N]; None where unknown.

    Returns:
        Rows of the tiles that touch, for each tile [N].
    """
    cells: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for row, place in enumerate(places):
        if place is not None and len(together := cells[_cell(place, 0, 0)]) < _MOST_TOGETHER:
            together.append(row)
    return [() if place is None else tuple(_around(place, places, cells)) for place in places]


def _around(
    place: Place, places: Sequence[Place | None], cells: dict[tuple[object, ...], list[int]]
) -> Iterator[int]:
    for down in (-1, 0, 1):
        for across in (-1, 0, 1):
            for row in cells.get(_cell(place, across, down), ()):
                other = places[row]
                if other is not None and place.touches(other):
                    yield row


def _cell(place: Place, across: int, down: int) -> tuple[object, ...]:
    """Return the cell of a place, or one beside it: tiles that touch lie in cells that do."""
    slide, x, y, width, height = place
    reach = 1 + _SEAM
    column, line = math.floor(x / (width * reach)), math.floor(y / (height * reach))
    return slide, width, height, column + across, line + down
