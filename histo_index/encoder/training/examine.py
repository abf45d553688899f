"""Find the tiles that can be learnt from."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from histo_index.encoder.decode_pool import DecodePool, usable_cores
from histo_index.encoder.decode_worker import DecodeSettings
from histo_index.encoder.images import DecodeLimits, Pixels
from histo_index.encoder.training.config import TrainConfig
from histo_index.errors import ImageError, InputError, counted

_log = logging.getLogger(__name__)

# Tiles whose embeddings show whether the network still tells tiles apart.
_PROBES: Final = 256


@dataclass(kw_only=True)
class Tiles:
    """Tiles that can be used, some of them fitted as probes, and those that cannot."""

    paths: list[Path] = field(default_factory=list)
    probes: list[Pixels] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    contents: set[str] = field(default_factory=set)


def examine(paths: Sequence[Path], config: TrainConfig) -> Tiles:
    """Decode every tile once, where a bad one can do no harm."""
    tiles = Tiles()
    settings = DecodeSettings(limits=DecodeLimits(), preprocessing=config.encoder.preprocessing)
    every = max(len(paths) // _PROBES, 1)
    with DecodePool(settings, workers=usable_cores()) as pool:
        for number, (path, tile) in enumerate(zip(paths, pool.prepare(paths), strict=True)):
            if isinstance(tile, ImageError):
                tiles.rejected.append(str(tile))
            elif min(tile.width, tile.height) < config.recipe.crop_px:
                tiles.rejected.append(
                    f"{tile.name}: {tile.width} × {tile.height} px, smaller than the crop of "
                    f"{config.recipe.crop_px} px; pass a smaller --crop"
                )
            else:
                tiles.paths.append(path)
                tiles.contents.add(tile.sha256)
                if number % every == 0:
                    tiles.probes.append(tile.pixels)
    for reason in tiles.rejected:
        _log.warning("%s", reason)
    if not tiles.paths:
        first = f"; the first: {tiles.rejected[0]}" if tiles.rejected else ""
        raise InputError(f"none of {counted(len(paths), 'tile')} can be used{first}")
    if len(tiles.contents) == 1 and len(tiles.paths) > 1:
        raise InputError(
            f"all {len(tiles.paths)} tiles are the same image, so there is nothing to learn; "
            "check the folder"
        )
    return tiles
