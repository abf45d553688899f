"""`train`: from a list of tiles to an encoder folder."""

import ctypes
import logging
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch

from histo_index.encoder.config import THRESHOLD_FIELDS, PublishedThreshold
from histo_index.encoder.folder import load_encoder, write_encoder
from histo_index.encoder.runtime.reference import weights_of
from histo_index.encoder.training.checkpoint import Interruption, Stopwatch, remove_temporaries
from histo_index.encoder.training.config import TrainConfig, TrainProgress
from histo_index.encoder.training.distributed import Team
from histo_index.encoder.training.loop import Run
from histo_index.encoder.training.monitor import (
    Monitor,
    Tiles,
    draw,
    effective_rank,
    embed,
    examine,
    write_log,
)
from histo_index.encoder.unfinished import CHECKPOINT_NAME
from histo_index.errors import InputError, TrainingError
from histo_index.hardware import usable_cores

_log = logging.getLogger(__name__)

BEST_NAME: Final = "best"
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
        seconds: wall time of the run, over all interruptions.
        monitoring_seconds: those of them in which epochs were measured.
        is_first: whether this process is the one that wrote it; of several only the first speaks.
    """

    encoder: Path
    fingerprint: str
    tiles: int
    rejected: Sequence[str]
    epochs: Sequence[Mapping[str, Any]]
    best_epoch: int | None
    seconds: float
    monitoring_seconds: float
    is_first: bool


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
        resume: go on from the checkpoint in the output folder, if there is one.
        tell: called after every step, by the first process.

    Raises:
        InputError: too few tiles, all of them equal, or the output is taken.
        TrainingError: the network collapsed, diverged or ran out of memory.
        IndexFormatError: the checkpoint, or an encoder to start from, is damaged.
        MismatchError: the checkpoint is of another run.
        OSError: the disk is full or not writable; the last checkpoint stands.
    """
    watch = Stopwatch()
    is_resumed = _find_checkpoint(config.output, resume=resume)
    tiles = examine(paths, config)
    keep_freed_memory()
    team = Team.join(config.device)
    try:
        run = Run(config, tiles.paths, team, watch)
        config.output.mkdir(parents=True, exist_ok=True)
        if is_resumed:
            run.resume()
        if team.is_first:
            _train_epochs(run, tell, partial(_finish_epoch, run, tiles, monitor, data or {}))
        else:
            _train_epochs(run, lambda progress: None, lambda figures: None)
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
        seconds=watch.seconds,
        monitoring_seconds=sum(figures.get("monitoring_seconds", 0.0) for figures in run.epochs),
        is_first=team.is_first,
    )


def _train_epochs(
    run: Run,
    tell: Callable[[TrainProgress], None],
    finish: Callable[[dict[str, Any]], None],
) -> None:
    """Train what is left of the run.

    The checkpoint at the end of an epoch precedes `finish`: a run that is interrupted there repeats
    only that. Of several processes none saves when it is interrupted, as another may be in the next
    step; the last checkpoint stands.

    Args:
        run: at any step.
        tell: called after every step.
        finish: called with the figures of every epoch, to which it may add.
    """
    with Interruption() as interruption:
        try:
            while len(run.epochs) < run.config.recipe.epochs:
                figures = run.train_epoch(tell, interruption)
                run.save()
                finish(figures)
                run.close_epoch(figures)
                _require_life(figures)
        finally:
            if interruption.can_save and run.team.size == 1:
                run.save()


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


def _find_checkpoint(folder: Path, *, resume: bool) -> bool:
    """Return whether the run goes on from a checkpoint; refuse a folder that holds other things."""
    remove_temporaries(folder)
    if (folder / CHECKPOINT_NAME).is_file():
        if not resume:
            raise InputError(
                f"{folder} holds an interrupted run; pass --resume to go on with it, or another "
                "folder"
            )
        return True
    if folder.exists() and any(folder.iterdir()):
        reason = " and holds no checkpoint to go on from" if resume else ""
        raise InputError(f"{folder} exists already{reason}; pass another folder")
    if resume:
        _log.info("%s: no checkpoint to go on from; the run starts from the beginning", folder)
    return False


def _finish_epoch(
    run: Run,
    tiles: Tiles,
    monitor: Monitor | None,
    data: Mapping[str, Any],
    figures: dict[str, Any],
) -> None:
    """Measure the epoch and write its encoder, log and plot."""
    started = run.watch.seconds
    encode = partial(embed, run.byol.online.trunk, device=run.team.device)
    with run.autocast():
        figures["effective_rank"] = effective_rank(encode(tiles.probes))
        if monitor is not None:
            figures.update(monitor.judge(encode(monitor.images)))
    figures["monitoring_seconds"] = round(run.watch.seconds - started, 3)
    folder, epochs = run.config.output, [*run.epochs, figures]
    write_log(folder, epochs)
    draw(folder, epochs)
    published = {name: _threshold(figures, name, monitor) for name in THRESHOLD_FIELDS}
    if _best_epoch(epochs, monitor) is figures:
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
        "seconds": round(run.watch.seconds),
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
