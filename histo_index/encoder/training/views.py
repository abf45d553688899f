"""From tiles to batches: check every tile once, then make two random views of each.

The views follow from seed, epoch and tile, whichever process makes them.
"""

import hashlib
import logging
import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Final

import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from histo_index.arrays import Pixels
from histo_index.encoder.decode.image_file import DecodeLimits, read_tile
from histo_index.encoder.decode.pool import DecodePool
from histo_index.encoder.decode.worker import DecodeSettings, PreparedTile
from histo_index.encoder.training.batches.colours import Colours, Crossing
from histo_index.encoder.training.batches.neighbours import Neighbours
from histo_index.encoder.training.batches.order import Order, mix_seed
from histo_index.encoder.training.config import TrainConfig
from histo_index.errors import ImageError, InputError
from histo_index.hardware import usable_cores
from histo_index.wording import counted

_log = logging.getLogger(__name__)

# Tiles whose embeddings show whether the network still separates tiles.
_PROBES: Final = 256


@dataclass(kw_only=True)
class Tiles:
    """The tiles of a run.

    Attributes:
        paths: usable tiles.
        probes: some of them, fitted as for inference, uint8 RGB [S, S, 3] each.
        rejected: why each other tile cannot be used.
        contents: SHA-256 of the usable files, and of the pixels of slide tiles.
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
            # The digest of a slide tile is empty.
            tiles.contents.add(tile.sha256 or hashlib.sha256(tile.pixels.tobytes()).hexdigest())
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


class Views(Dataset[torch.Tensor]):
    """Pairs of views, addressed by (epoch, tile).

    Both views are of the tile, or the second is of one of its neighbours.

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
        neighbours: Neighbours | None = None,
    ) -> None:
        self.paths = paths
        self.transform = transform
        self.seed = seed
        self.crossing = crossing
        self.neighbours = neighbours

    def __getitem__(self, address: tuple[int, int]) -> torch.Tensor:
        """Make uint8 RGB [2, S, S, 3].

        Raises:
            ImageError: the file can no longer be used.
        """
        epoch, tile = address
        second = tile if self.neighbours is None else self.neighbours.second(epoch, tile)
        images = {chosen: self._read(chosen) for chosen in {tile, second}}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(mix_seed(self.seed, epoch, tile))
            views = [self._make(images[chosen], chosen) for chosen in (tile, second)]
        return torch.stack(views).permute(0, 2, 3, 1)

    def tiles(self, addresses: Sequence[tuple[int, int]]) -> list[int]:
        """Return the tile of each view of a batch [2B], first views first."""
        firsts = [tile for _, tile in addresses]
        if self.neighbours is None:
            return firsts * 2
        return firsts + [self.neighbours.second(epoch, tile) for epoch, tile in addresses]

    def _read(self, tile: int) -> torch.Tensor:
        """Read a tile: uint8 RGB [3, H, W], a copy, because Pillow's pixels are read-only."""
        return torch.tensor(read_tile(self.paths[tile], DecodeLimits()).pixels).permute(2, 0, 1)

    def _make(self, image: torch.Tensor, tile: int) -> torch.Tensor:
        if self.crossing is not None:
            image = self.crossing.apply(image, tile)
        view: torch.Tensor = self.transform(image)
        return view


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
