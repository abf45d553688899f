"""Train: from a list of tiles to an encoder folder."""

import ctypes
import logging
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch

from histo_index.encoder.config import EncoderConfig, PublishedThreshold
from histo_index.encoder.folder import load_encoder, write_encoder
from histo_index.encoder.runtime.reference import extract_weights
from histo_index.encoder.training.batches.material import Lessons
from histo_index.encoder.training.checkpoint import Interruption, Stopwatch, remove_temporaries
from histo_index.encoder.training.config import TrainConfig, TrainProgress
from histo_index.encoder.training.distillation.teacher import Teacher
from histo_index.encoder.training.distributed import Team
from histo_index.encoder.training.loop import Run
from histo_index.encoder.training.monitor import (
    Monitor,
    Plot,
    Thresholds,
    effective_rank,
    embed,
    write_log,
)
from histo_index.encoder.training.views import Tiles, check_tiles
from histo_index.encoder.unfinished import CHECKPOINT_NAME
from histo_index.errors import InputError, TrainingError
from histo_index.hardware import usable_cores

_log = logging.getLogger(__name__)

BEST_NAME: Final = "best"
# Healthy runs keep a feature standard deviation of 0.3 to 1 and a rank of many directions.
_COLLAPSED_SPREAD: Final = 0.01
_COLLAPSED_RANK: Final = 1.5
# From malloc.h of glibc.
_MMAP_MAX: Final = -4
_TRIM_THRESHOLD: Final = -1


@dataclass(frozen=True, kw_only=True)
class TrainReport:
    """The result of a run.

    Attributes:
        encoder: the folder.
        fingerprint: of the encoder of the last epoch.
        tiles: number of tiles trained on.
        rejected: why each other tile could not be used.
        epochs: figures of each epoch.
        best_epoch: by the monitor; None without one.
        seconds: wall time of the run, over all interruptions.
        monitoring_seconds: the part of it spent on measuring epochs.
        is_first: whether this process wrote the encoder; of several processes only the first does.
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
    lessons: Lessons | None = None,
    monitor: Monitor | None = None,
    data: Mapping[str, Any] | None = None,
    resume: bool = False,
    on_step: Callable[[TrainProgress], None] = lambda progress: None,
) -> TrainReport:
    """Train an encoder on unlabelled tiles.

    Args:
        paths: the tiles; unusable ones are warnings in the log and left out.
        config: the settings of the run.
        lessons: what is known of the tiles besides.
        monitor: a labelled set to measure every epoch with.
        data: the part of the model card that describes the tiles.
        resume: continue from the checkpoint in the output folder, if there is one.
        on_step: called after every step, in the first process.

    Raises:
        InputError: too few tiles, all of them equal, or the output folder is in use.
        TrainingError: the network collapsed, diverged or ran out of memory.
        IndexFormatError: the checkpoint, or an encoder to start from, is damaged.
        MismatchError: the checkpoint is of another run.
        OSError: the disk is full or not writable; the last checkpoint stands.
    """
    stopwatch = Stopwatch()
    is_resumed = _find_checkpoint(config.output, resume=resume)
    tiles = check_tiles(paths, config)
    keep_freed_memory()
    team = Team.join(config.device)
    try:
        material = (lessons or Lessons()).choose(tiles)
        run = Run(config, material, team, stopwatch)
        config.output.mkdir(parents=True, exist_ok=True)
        if is_resumed:
            run.resume()
        if team.is_first:
            plot = Plot(config.output, stopwatch)
            finish = partial(_finish_epoch, run, plot, tiles, monitor=monitor, data=data or {})
            _train_epochs(run, on_step, finish)
            plot.draw(run.epochs)
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
        seconds=stopwatch.seconds,
        monitoring_seconds=sum(figures.get("monitoring_seconds", 0.0) for figures in run.epochs),
        is_first=team.is_first,
    )


def _train_epochs(
    run: Run,
    on_step: Callable[[TrainProgress], None],
    finish_epoch: Callable[[dict[str, Any]], None],
) -> None:
    """Train the remaining epochs of the run.

    A checkpoint is written before `finish_epoch`, so that a run interrupted there repeats no step.
    Several processes save nothing when interrupted, because they may be at different steps; the
    last checkpoint stands.

    Args:
        run: at any step.
        on_step: called after every step.
        finish_epoch: called with the figures of every epoch, to which it may add.
    """
    with Interruption() as interruption:
        try:
            while len(run.epochs) < run.config.recipe.epochs:
                figures = run.train_epoch(on_step, interruption)
                run.save()
                finish_epoch(figures)
                run.close_epoch(figures)
                _check_collapse(figures)
        finally:
            if interruption.can_save and run.team.size == 1:
                run.save()


def keep_freed_memory() -> None:
    """Let the allocator keep the memory that each step frees for the next one.

    By default glibc returns large blocks to the kernel, which clears every page when they are
    allocated again; on a small virtual machine that took most of the time.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_MMAP_MAX, 0)
    libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def _find_checkpoint(folder: Path, *, resume: bool) -> bool:
    """Return whether the run continues from a checkpoint.

    Raises:
        InputError: the folder holds a checkpoint and `resume` is false, or holds other files.
    """
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
    plot: Plot,
    tiles: Tiles,
    figures: dict[str, Any],
    *,
    monitor: Monitor | None,
    data: Mapping[str, Any],
) -> None:
    """Measure the epoch and write its encoder, log and, where it is due, plot."""
    started, thresholds = run.stopwatch.seconds, None
    encode = partial(embed, run.byol.online.trunk, device=run.team.device)
    with run.autocast():
        figures["effective_rank"] = effective_rank(encode(tiles.probes))
        if monitor is not None:
            metrics, thresholds = monitor.measure(encode(monitor.images))
            figures.update({**metrics.figures(), **thresholds.figures()})
    figures["monitoring_seconds"] = round(run.stopwatch.seconds - started, 3)
    folder, epochs = run.config.output, [*run.epochs, figures]
    write_log(folder, epochs)
    plot.draw_if_due(epochs)
    encoder = run.config.encoder
    if monitor is not None and thresholds is not None:
        encoder = _publish(encoder, thresholds, monitor.name)
    encoder = replace(encoder, training=_model_card(run, data, figures), mpp=data.get("mpp"))
    weights = extract_weights(run.byol.online.trunk)
    if _best_epoch(epochs, monitor) is figures:
        write_encoder(folder / BEST_NAME, encoder, weights)
    write_encoder(folder, encoder, weights)


def _publish(encoder: EncoderConfig, thresholds: Thresholds, name: str) -> EncoderConfig:
    """Return the encoder with the thresholds of the monitor of that name."""

    def published(value: float | None) -> PublishedThreshold | None:
        if value is None:
            return None
        origin = f"most right verdicts on the pairs of {name}, as many same as different"
        return PublishedThreshold(value=value, origin=origin)

    return replace(
        encoder,
        threshold=published(thresholds.threshold),
        diffused_threshold=published(thresholds.diffused_threshold),
    )


def _check_collapse(figures: Mapping[str, Any]) -> None:
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
    return max(epochs, key=lambda figures: float(figures["pair_auc"]))


def _model_card(run: Run, data: Mapping[str, Any], figures: Mapping[str, Any]) -> Mapping[str, Any]:
    config = run.config
    return {
        "method": "byol" if run.material.teacher is None else "distillation",
        "recipe": asdict(config.recipe),
        "data": {**data, "tiles": len(run.material.paths)},
        **_teacher_card(run.material.teacher),
        "start": str(config.init.name) if config.init else "random",
        "seed": config.seed,
        "epochs": figures["epoch"],
        "images_seen": figures["epoch"] * run.steps_an_epoch * config.recipe.batch,
        "seconds": round(run.stopwatch.seconds),
        "hardware": _hardware(run.team),
        "figures": dict(figures),
    }


def _teacher_card(teacher: Teacher | None) -> dict[str, Any]:
    if teacher is None:
        return {}
    card = {"name": teacher.name, "columns": list(teacher.columns), "tiles": teacher.known}
    return {"teacher": card}


def _hardware(team: Team) -> str:
    if team.device.type == "cuda":
        return f"{team.size} × {torch.cuda.get_device_name(team.device)}"
    return f"{team.size} × {platform.processor() or platform.machine()}, {usable_cores()} cores"
