"""Two random views of every tile, the same ones whenever and by whomever they are made."""

import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Final

import torch
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms import v2

from histo_index.encoder.decode.image_file import DecodeLimits, read_tile

_SEED_BITS: Final = 63


class Views(Dataset[torch.Tensor]):
    """Pairs of views, addressed by (epoch, tile).

    The random numbers of a pair follow from seed, epoch and tile alone. So neither the number of
    loading processes nor an interruption changes what the network sees, and resuming needs no
    random state.
    """

    def __init__(self, paths: Sequence[Path], transform: v2.Transform, *, seed: int) -> None:
        self.paths = paths
        self.transform = transform
        self.seed = seed

    def __getitem__(self, address: tuple[int, int]) -> torch.Tensor:
        """Make uint8 RGB [2, S, S, 3].

        Raises:
            ImageError: the file cannot be used any more.
        """
        epoch, tile = address
        pixels = read_tile(self.paths[tile], DecodeLimits()).pixels
        image = torch.tensor(pixels).permute(2, 0, 1)  # [3, H, W], a copy: Pillow's is read-only
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(self.seed, epoch, tile))
            views = torch.stack([self.transform(image), self.transform(image)])
        return views.permute(0, 2, 3, 1)


@dataclass(frozen=True, kw_only=True)
class Share:
    """Which part of every batch a process works on.

    Attributes:
        parts: pieces a batch is worked through in.
        rank: this process, from 0.
        ranks: how many processes share the batch.
    """

    parts: int = 1
    rank: int = 0
    ranks: int = 1


_WHOLE: Final = Share()


class Order(Sampler[list[tuple[int, int]]]):
    """The batches of one epoch, shuffled by seed and epoch; the last, smaller one is left out."""

    def __init__(
        self,
        tiles: int,
        *,
        epoch: int,
        seed: int,
        batch: int,
        done: int = 0,
        share: Share = _WHOLE,
    ) -> None:
        """Plan an epoch.

        Args:
            tiles: how many there are.
            epoch: from 0.
            seed: of the run.
            batch: tiles a batch.
            done: batches of this epoch that are behind already.
            share: this process's part of each.
        """
        self.tiles, self.epoch, self.seed = tiles, epoch, seed
        self.batch, self.done, self.share = batch, done, share

    def __len__(self) -> int:
        return (self.tiles // self.batch - self.done) * self.share.parts

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        generator = torch.Generator().manual_seed(seed_of(self.seed, self.epoch))
        order = torch.randperm(self.tiles, generator=generator).tolist()
        for number in range(self.done, self.tiles // self.batch):
            chosen = order[number * self.batch : (number + 1) * self.batch]
            for part in range(self.share.parts):
                mine = chosen[part :: self.share.parts][self.share.rank :: self.share.ranks]
                yield [(self.epoch, tile) for tile in mine]


def load(views: Views, order: Order, *, workers: int) -> DataLoader[torch.Tensor]:
    """Make the batches of an epoch in other processes: uint8 [2B, S, S, 3], first views first."""
    return DataLoader(
        views,
        batch_sampler=order,
        num_workers=workers,
        collate_fn=first_views_first,
        multiprocessing_context=_process_context() if workers else None,
    )


def _process_context() -> BaseContext:
    """Return the context that starts loading processes, every epoch.

    They are not forks of this process: one that had run OpenVINO died of it. Their common parent
    imports torch once; imported by each of them, it took seconds of every epoch.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def first_views_first(pairs: Sequence[torch.Tensor]) -> torch.Tensor:
    """Join [2, S, S, 3] each to [2B, S, S, 3], first views first, as the loss takes them."""
    return torch.stack(list(pairs), dim=1).flatten(0, 1)


def seed_of(*parts: int) -> int:
    """Mix numbers into one seed, so that neighbours share nothing.

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
