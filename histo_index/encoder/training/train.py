"""`train`: from a list of tiles to an encoder folder."""

import ctypes
import logging
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch

from histo_index.encoder.config import THRESHOLD_FIELDS, PublishedThreshold
from histo_index.encoder.decode_pool import DecodePool, usable_cores
from histo_index.encoder.decode_worker import DecodeSettings
from histo_index.encoder.folder import load_encoder, write_encoder
from histo_index.encoder.images import DecodeLimits, Pixels
from histo_index.encoder.training.checkpoint import CHECKPOINT_NAME
from histo_index.encoder.training.parallel import Team
from histo_index.encoder.training.run import Run, TrainConfig, TrainProgress
from histo_index.encoder.training.watch import (
    Monitor,
    draw,
    effective_rank,
    embed,
    write_log,
)
from histo_index.encoder.trunk import weights_of
from histo_index.errors import ImageError, InputError, TrainingError, counted

_log = logging.getLogger(__name__)

BEST_NAME: Final = "best"
# Tiles whose embeddings show whether the network still tells tiles apart.
_PROBES: Final = 256
# Below it projections of different tiles are the same but for rounding; healthy runs keep 0.3 to 1.
_COLLAPSED_SPREAD: Final = 0.01
# A line: one direction is left in the embeddings.
_COLLAPSED_RANK: Final = 1.5


# From glibc's malloc.h.
_MMAP_MAX: Final = -4
_TRIM_THRESHOLD: Final = -1


@dataclass(frozen=True, kw_only=True)
class TrainReport:
    """What a run gave.

    Attributes:
        encoder: the folder.
        fingerprint: of the last epoch's encoder.
        tiles: learnt from.
        rejected: tiles that could not be used, with the reason.
        epochs: figures of each epoch.
        best_epoch: by the monitor; None without one.
        seconds: worked on it, over all interruptions.
        is_first: whether this process is the one that wrote it; of several only the first speaks.
    """

    encoder: Path
    fingerprint: str
    tiles: int
    rejected: Sequence[str]
    epochs: Sequence[Mapping[str, Any]]
    best_epoch: int | None
    seconds: float
    is_first: bool


@dataclass(kw_only=True)
class _Tiles:
    """Tiles that can be used, some of them fitted as probes, and those that cannot."""

    paths: list[Path] = field(default_factory=list)
    probes: list[Pixels] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    contents: set[str] = field(default_factory=set)


def train(
    paths: Sequence[Path],
    config: TrainConfig,
    *,
    monitor: Monitor | None = None,
    data: Mapping[str, Any] | None = None,
    resume: bool = False,
    tell: Callable[[TrainProgress], None] = lambda progress: None,
) -> TrainReport:
    """Train an encoder on unlabelled tiles.

    Args:
        paths: the tiles; unusable ones are named in the log and left out.
        config: what to do.
        monitor: a labelled set to watch by.
        data: what the model card says of the tiles.
        resume: go on from the checkpoint in the output folder.
        tell: called after every step, by the first process.

    Raises:
        InputError: too few tiles, all of them equal, or the output is taken.
        TrainingError: the network collapsed, diverged or ran out of memory.
        IndexFormatError: nothing to resume, or an encoder to start from is damaged.
        MismatchError: the checkpoint is of another run.
        OSError: the disk is full or not writable; the last checkpoint stands.
    """
    _require_free(config.output, resume=resume)
    tiles = _examine(paths, config)
    keep_freed_memory()
    team = Team.join(config.device)
    try:
        run = Run(config, tiles.paths, team)
        config.output.mkdir(parents=True, exist_ok=True)
        if resume:
            run.resume()
        while run.step < run.steps:
            figures = run.train_epoch(tell if team.is_first else _say_nothing)
            if team.is_first:
                _finish_epoch(run, figures, tiles, monitor, data or {})
            run.save()
            _require_life(figures)
        fingerprint = load_encoder(config.output).fingerprint if team.is_first else ""
        (config.output / CHECKPOINT_NAME).unlink(missing_ok=True)
    finally:
        team.leave()
    best = _best_epoch(run.epochs, monitor)
    return TrainReport(
        encoder=config.output,
        fingerprint=fingerprint,
        tiles=len(tiles.paths),
        rejected=tiles.rejected,
        epochs=run.epochs,
        best_epoch=None if best is None else best["epoch"],
        seconds=run.seconds,
        is_first=team.is_first,
    )


def _say_nothing(progress: TrainProgress) -> None:
    pass


def keep_freed_memory() -> None:
    """Let the allocator keep what each step frees for the next one.

    glibc hands large blocks back to the kernel at once, which then clears every page of them anew:
    on a small virtual machine that took nine tenths of the time.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_MMAP_MAX, 0)
    libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def _require_free(folder: Path, *, resume: bool) -> None:
    if resume or not folder.exists() or not any(folder.iterdir()):
        return
    if (folder / CHECKPOINT_NAME).is_file():
        raise InputError(
            f"{folder} holds an interrupted run; pass --resume to go on with it, or another folder"
        )
    raise InputError(f"{folder} exists already; pass another folder")


def _examine(paths: Sequence[Path], config: TrainConfig) -> _Tiles:
    """Decode every tile once, where a bad one can do no harm."""
    tiles = _Tiles()
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


def _finish_epoch(
    run: Run,
    figures: dict[str, Any],
    tiles: _Tiles,
    monitor: Monitor | None,
    data: Mapping[str, Any],
) -> None:
    """Measure the epoch and write what it left; the checkpoint, which counts it, comes after."""
    encode = partial(embed, run.byol.online.trunk, device=run.team.device)
    with run.autocast():
        figures["effective_rank"] = effective_rank(encode(tiles.probes))
        if monitor is not None:
            figures.update(monitor.judge(encode(monitor.images)))
    run.epochs.append(figures)
    folder = run.config.output
    write_log(folder, run.epochs)
    draw(folder, run.epochs)
    published = {name: _threshold(figures, name, monitor) for name in THRESHOLD_FIELDS}
    if _best_epoch(run.epochs, monitor) is figures:
        _save(run, folder / BEST_NAME, data, figures, published)
    _save(run, folder, data, figures, published)


def _threshold(
    figures: Mapping[str, Any], name: str, monitor: Monitor | None
) -> PublishedThreshold | None:
    if monitor is None or name not in figures:
        return None
    return PublishedThreshold(
        value=figures[name],
        origin=f"most right verdicts on the pairs of {monitor.name}, as many same as different",
    )


def _require_life(figures: Mapping[str, Any]) -> None:
    std, rank = figures["feature_std"], figures.get("effective_rank", _COLLAPSED_RANK)
    if not (std >= _COLLAPSED_SPREAD and rank >= _COLLAPSED_RANK):
        raise TrainingError(
            f"the network collapsed in epoch {figures['epoch']}: feature standard deviation "
            f"{std:.4f}, effective rank {rank:.2f}; lower --learning-rate, raise --batch or "
            "--momentum, and look for tiles that are all alike"
        )


def _best_epoch(epochs: Sequence[dict[str, Any]], monitor: Monitor | None) -> dict[str, Any] | None:
    if monitor is None or not epochs:
        return None
    return max(epochs, key=lambda figures: float(figures[monitor.decisive]))


def _save(
    run: Run,
    folder: Path,
    data: Mapping[str, Any],
    figures: Mapping[str, Any],
    thresholds: Mapping[str, PublishedThreshold | None],
) -> None:
    """Write the trunk as an encoder folder with its model card."""
    config = run.config
    card = {
        "method": "byol",
        "recipe": asdict(config.recipe),
        "data": {**data, "tiles": len(run.paths)},
        "start": str(config.init.name) if config.init else "random",
        "seed": config.seed,
        "epochs": figures["epoch"],
        "images_seen": figures["epoch"] * run.steps_an_epoch * config.recipe.batch,
        "seconds": round(run.seconds),
        "hardware": _hardware(run.team),
        "figures": dict(figures),
    }
    known = dict[str, Any](thresholds)
    encoder = replace(config.encoder, training=card, mpp=data.get("mpp"), **known)
    write_encoder(folder, encoder, weights_of(run.byol.online.trunk))


def _hardware(team: Team) -> str:
    if team.device.type == "cuda":
        return f"{team.size} × {torch.cuda.get_device_name(team.device)}"
    return f"{team.size} × {platform.processor() or platform.machine()}, {usable_cores()} cores"
