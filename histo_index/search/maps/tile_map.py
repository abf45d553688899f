"""A map as it is stored: places by content, and what made them."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from histo_index.arrays import Bools, Float32
from histo_index.errors import MismatchError
from histo_index.indexer.format.manifest import Manifest


@dataclass(frozen=True, kw_only=True)
class MapFacts:
    """What a map was made by.

    Attributes:
        method: name and version of what laid the tiles out.
        perplexity: about how many neighbours each tile was laid out by.
        steps: of the optimisation.
        seed: of the sample and of the first places.
        laid_out: tiles that were laid out together; all others were placed by them.
        fingerprint: of the encoder.
        distance: of the index, as its manifest names it.
        generation: of the index that was laid out.
        created: when: UTC, ISO 8601, seconds.
    """

    method: str
    perplexity: float
    steps: int
    seed: int
    laid_out: int
    fingerprint: str
    distance: str
    generation: int
    created: str


@dataclass(frozen=True, kw_only=True)
class TileMap:
    """Places of tiles. Two tiles of the same content have one place.

    Attributes:
        facts: what made it.
        contents: SHA-256 of each content, string [M].
        points: float32 [M, 2].
        nearest: float32 [M], distance to the nearest other content that was laid out, 0…4.
        is_placed: bool [M], whether it was placed by its neighbours, rather than laid out.
    """

    facts: MapFacts
    contents: pa.Array
    points: Float32
    nearest: Float32
    is_placed: Bools

    def __len__(self) -> int:
        return len(self.contents)

    def select(self, kept: Bools) -> Self:
        """Return the map of some of its contents, bool [M]."""
        return replace(
            self, contents=self.contents.filter(pa.array(kept)), points=self.points[kept],
            nearest=self.nearest[kept], is_placed=self.is_placed[kept],
        )  # fmt: skip

    def without(self, contents: pa.Array) -> Self:
        """Return the map without some contents."""
        is_meant = pc.is_in(self.contents, value_set=contents)
        return self.select(~np.asarray(is_meant.to_numpy(zero_copy_only=False), bool))

    def join(self, placed: "TileMap") -> Self:
        """Return the map with further contents behind its own."""
        return replace(
            self, contents=pa.concat_arrays([self.contents, placed.contents]),
            points=np.concatenate([self.points, placed.points]),
            nearest=np.concatenate([self.nearest, placed.nearest]),
            is_placed=np.concatenate([self.is_placed, placed.is_placed]),
        )  # fmt: skip

    def require_fits(self, manifest: Manifest) -> None:
        """Refuse to use it with another encoder or kind of distance.

        A distance that was fitted again changes slightly: the places stand, and further tiles are
        placed by the distance of today.

        Raises:
            MismatchError: it was made for another one.
        """
        own, other = self.facts.distance.split()[0], manifest.distance_kind
        for kind, found, expected in (
            ("encoder", self.facts.fingerprint, manifest.fingerprint),
            ("distances", own, other),
        ):
            if found != expected:
                raise MismatchError(
                    f"the map was made for {kind} {found}, but the index has {expected}; "
                    "run `histo-index map` again"
                )
