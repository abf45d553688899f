"""From tiles to batches: check every tile once, then make two random views of each.

The views follow from seed, epoch and tile, whichever process makes them.
"""

import logging
import multiprocessing
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Final

import torch
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms import v2

from histo_index.encoder.decode.image_file import DecodeLimits, Pixels, read_tile
from histo_index.encoder.decode.pool import DecodePool
from histo_index.encoder.decode.worker import DecodeSettings, PreparedTile
from histo_index.encoder.training.augment import Colours
from histo_index.encoder.training.config import TrainConfig
from histo_index.errors import ImageError, InputError
from histo_index.hardware import usable_cores
from histo_index.wording import counted

_log = logging.getLogger(__name__)

_SEED_BITS: Final = 63
# Tiles whose embeddings show whether the network still separates tiles.
_PROBES: Final = 256
# A source of n tiles is drawn in proportion to n to this power.
_BALANCE: Final = 0.5
# The least share of the other tile's colours in a view that crosses.
_LEAST_CROSSED: Final = 0.3


@dataclass(kw_only=True)
class Tiles:
    """The tiles of a run.

    Attributes:
        paths: usable tiles.
        probes: some of them, fitted as for inference, uint8 RGB [S, S, 3] each.
        rejected: why each other tile cannot be used.
        contents: SHA-256 of the usable files.
        rows: number of each usable tile in the list that was checked.
        colours: of the usable tiles, where views get those of other tiles.
    """

    paths: list[Path] = field(default_factory=list)
    probes: list[Pixels] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    contents: set[str] = field(default_factory=set)
    rows: list[int] = field(default_factory=list)
    colours: Colours | None = None


def check_tiles(paths: Sequence[Path], config: TrainConfig) -> Tiles:
    """Decode every tile once, in other processes; unusable ones are warnings in the log.

    Raises:
        InputError: no tile can be used, or all are the same image.
    """
    tiles = Tiles()
    settings = DecodeSettings(limits=DecodeLimits(), preprocessing=config.encoder.preprocessing)
    every = max(len(paths) // _PROBES, 1)
    colours: list[Colours] = []
    with DecodePool(settings, workers=usable_cores()) as pool:
        for number, (path, tile) in enumerate(zip(paths, pool.prepare(paths), strict=True)):
            reason = _rejection(tile, config.recipe.crop_px)
            if isinstance(tile, ImageError) or reason:
                tiles.rejected.append(reason)
                continue
            tiles.paths.append(path)
            tiles.rows.append(number)
            if config.recipe.crossing:
                colours.append(Colours.of(tile.pixels))
            tiles.contents.add(tile.sha256)
            if number % every == 0:
                tiles.probes.append(tile.pixels)
    for reason in tiles.rejected:
        _log.warning("%s", reason)
    _require_different(tiles, len(paths))
    if colours:
        tiles.colours = Colours.join(colours)
    return tiles


def _rejection(tile: PreparedTile | ImageError, crop_px: int) -> str:
    """Return why a tile cannot be used; empty if it can."""
    if isinstance(tile, ImageError):
        return str(tile)
    if min(tile.width, tile.height) >= crop_px:
        return ""
    return (
        f"{tile.name}: {tile.width} × {tile.height} px, smaller than the crop of {crop_px} px; "
        "pass a smaller --crop"
    )


def _require_different(tiles: Tiles, total: int) -> None:
    if not tiles.paths:
        first = f"; the first: {tiles.rejected[0]}" if tiles.rejected else ""
        raise InputError(f"none of {counted(total, 'tile')} can be used{first}")
    if len(tiles.contents) == 1 and len(tiles.paths) > 1:
        raise InputError(
            f"all {len(tiles.paths)} tiles are the same image, so there is nothing to learn; "
            "check the folder"
        )


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """Views that get part of the colours of another tile.

    Attributes:
        colours: of all tiles.
        draws: which other tile.
        share: of the views.
    """

    colours: Colours
    draws: "Draws"
    share: float

    def apply(self, image: torch.Tensor, tile: int) -> torch.Tensor:
        """Change uint8 [3, H, W], with random numbers of torch's generator."""
        chance, position, amount = torch.rand(3).tolist()
        if chance >= self.share:
            return image
        other = self.draws.at(position)
        return self.colours.transfer(
            image, tile, other, _LEAST_CROSSED + (1 - _LEAST_CROSSED) * amount
        )


class Views(Dataset[torch.Tensor]):
    """Pairs of views, addressed by (epoch, tile).

    The random numbers of a pair follow from seed, epoch and tile alone. So neither the number of
    loading processes nor an interruption changes what the network sees, and resuming needs no
    random state.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        transform: v2.Transform,
        *,
        seed: int,
        crossing: Crossing | None = None,
    ) -> None:
        self.paths = paths
        self.transform = transform
        self.seed = seed
        self.crossing = crossing

    def __getitem__(self, address: tuple[int, int]) -> torch.Tensor:
        """Make uint8 RGB [2, S, S, 3].

        Raises:
            ImageError: the file can no longer be used.
        """
        epoch, tile = address
        pixels = read_tile(self.paths[tile], DecodeLimits()).pixels
        image = torch.tensor(pixels).permute(2, 0, 1)  # [3, H, W], a copy: Pillow's is read-only
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(mix_seed(self.seed, epoch, tile))
            views = torch.stack([self._make(image, tile), self._make(image, tile)])
        return views.permute(0, 2, 3, 1)

    def _make(self, image: torch.Tensor, tile: int) -> torch.Tensor:
        if self.crossing is not None:
            image = self.crossing.apply(image, tile)
        view: torch.Tensor = self.transform(image)
        return view


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


def load(views: Views, order: Order, *, workers: int) -> DataLoader[torch.Tensor]:
    """Load the batches of an epoch: uint8 RGB [2B, S, S, 3], first views first."""
    return DataLoader(
        views,
        batch_sampler=order,
        num_workers=workers,
        collate_fn=first_views_first,
        multiprocessing_context=_process_context() if workers else None,
    )


def _process_context() -> BaseContext:
    """Return the context that starts the loading processes.

    Not a fork of this process, because a fork of one that has used OpenVINO crashes. A fork server
    imports torch once for all of them.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def first_views_first(pairs: Sequence[torch.Tensor]) -> torch.Tensor:
    """Join pairs of views, [2, S, S, 3] each, to [2B, S, S, 3], first views first."""
    return torch.stack(list(pairs), dim=1).flatten(0, 1)


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
