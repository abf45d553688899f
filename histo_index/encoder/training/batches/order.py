"""The order of the tiles of a run: it follows from seed and epoch alone."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch.utils.data import Sampler

_SEED_BITS: Final = 63
# A source of n tiles is drawn in proportion to n to this power.
_BALANCE: Final = 0.5


@dataclass(frozen=True, kw_only=True)
class Share:
    """The share of one process in every batch.

    Attributes:
        parts: number of parts that a batch is split into.
        rank: this process, from 0.
        ranks: number of processes that share a batch.
    """

    parts: int = 1
    rank: int = 0
    ranks: int = 1


_WHOLE: Final = Share()


class Draws:
    """How often each tile is drawn: once an epoch, or so that no source outweighs the others."""

    def __init__(self, sources: Sequence[str] | None, tiles: int) -> None:
        """Balance tiles by their sources.

        Args:
            sources: of each tile; a source of n tiles is drawn in proportion to √n. None draws
                every tile once.
            tiles: number of tiles.
        """
        self.tiles = tiles
        self._ends: torch.Tensor | None = None  # float64 [N], rising to N
        if sources is not None:
            counts = Counter(sources)
            weights = torch.tensor([counts[s] ** (_BALANCE - 1) for s in sources]).double()
            self._ends = (weights / weights.sum()).cumsum(0) * tiles

    def order(self, generator: torch.Generator) -> torch.Tensor:
        """Draw the tiles of an epoch, int64 [N], shuffled.

        How often a tile is drawn is its share of N, rounded up or down.
        """
        shuffled = torch.randperm(self.tiles, generator=generator)
        if self._ends is None:
            return shuffled
        points = torch.arange(self.tiles) + torch.rand(1, generator=generator).double()
        return torch.searchsorted(self._ends, points).clamp(max=self.tiles - 1)[shuffled]

    def at(self, position: float) -> int:
        """Return the tile at a position from 0 to 1 of all draws."""
        if self._ends is None:
            return min(int(position * self.tiles), self.tiles - 1)
        found = torch.searchsorted(self._ends, torch.tensor(position * self.tiles).double())
        return min(int(found), self.tiles - 1)


class Order(Sampler[list[tuple[int, int]]]):
    """The batches of one epoch, shuffled by seed and epoch, without a last, smaller one."""

    def __init__(
        self,
        draws: Draws,
        *,
        epoch: int,
        seed: int,
        batch: int,
        done: int = 0,
        share: Share = _WHOLE,
    ) -> None:
        """Plan an epoch.

        Args:
            draws: how often each tile is drawn.
            epoch: from 0.
            seed: of the run.
            batch: tiles per batch.
            done: batches of this epoch that are finished.
            share: the share of this process.
        """
        self.draws, self.epoch, self.seed = draws, epoch, seed
        self.batch, self.done, self.share = batch, done, share

    def __len__(self) -> int:
        return (self.draws.tiles // self.batch - self.done) * self.share.parts

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        generator = torch.Generator().manual_seed(mix_seed(self.seed, self.epoch))
        order = self.draws.order(generator).tolist()
        for number in range(self.done, self.draws.tiles // self.batch):
            chosen = order[number * self.batch : (number + 1) * self.batch]
            for part in range(self.share.parts):
                mine = chosen[part :: self.share.parts][self.share.rank :: self.share.ranks]
                yield [(self.epoch, tile) for tile in mine]


def mix_seed(*parts: int) -> int:
    """Mix numbers into one seed of 63 bits; similar numbers give unrelated seeds.

    Source: Steele et al. (2014), Fast splittable pseudorandom number generators: SplitMix64.
    """
    mask = 2**64 - 1
    state = 0
    for part in parts:
        state = (state + part + 0x9E3779B97F4A7C15) & mask
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
        state ^= state >> 31
    return state >> (64 - _SEED_BITS)
