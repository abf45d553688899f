"""The training run: steps, epochs, checkpoints.

Everything random follows from the seed and the position in the run (see `views`). Everything else
that decides the next step is in the checkpoint. So a resumed run ends as an uninterrupted one.
"""

import hashlib
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import torch

from histo_index.encoder.runtime.untrained import compare_shapes
from histo_index.encoder.training.batches.material import Material, Part
from histo_index.encoder.training.batches.order import Draws, Order, Share
from histo_index.encoder.training.byol import momentum_at
from histo_index.encoder.training.checkpoint import (
    Interruption,
    Stopwatch,
    Tally,
    load_checkpoint,
    save_checkpoint,
)
from histo_index.encoder.training.config import TrainConfig, TrainProgress
from histo_index.encoder.training.distillation.lesson import Lesson
from histo_index.encoder.training.distillation.start import make_networks
from histo_index.encoder.training.distributed import Team
from histo_index.encoder.training.monitor import spread
from histo_index.encoder.training.recipes import make_optimizer, make_schedule
from histo_index.encoder.training.views import load
from histo_index.errors import InputError, MismatchError, TrainingError


class Run:
    """A run at some step.

    Attributes:
        material: what is learnt from.
        views: its views.
        byol: the networks.
        step: number of finished steps.
        epochs: figures of every finished epoch.
        tally: totals of the current epoch.
        stopwatch: wall time of the run.
    """

    def __init__(
        self, config: TrainConfig, material: Material, team: Team, stopwatch: Stopwatch
    ) -> None:
        """Start at step 0.

        Args:
            config: the settings of the run.
            material: what is learnt from.
            team: the processes of the run.
            stopwatch: that measures the run.

        Raises:
            InputError: fewer tiles than a batch.
            MismatchError: the encoder to start from does not fit, see `start_from`.
        """
        self.config, self.material, self.team, self.stopwatch = config, material, team, stopwatch
        recipe, paths = config.recipe, material.paths
        self.draws = Draws(material.sources, len(paths))
        self.views = material.make_views(config, self.draws)
        self.steps_an_epoch = len(paths) // recipe.batch
        if not self.steps_an_epoch:
            raise InputError(
                f"{len(paths)} usable tiles are fewer than a batch of {recipe.batch}; "
                "add tiles or pass a smaller --batch"
            )
        self.steps = self.steps_an_epoch * recipe.epochs
        self._targets: torch.Tensor | None = None
        self.byol = make_networks(config, team).to(  # type: ignore[call-overload]
            device=team.device, memory_format=torch.channels_last
        )
        self.optimizer = make_optimizer(recipe, self.byol)
        self.schedule = make_schedule(recipe, self.optimizer, self.steps)
        network: torch.nn.Module = self.byol
        if material.teacher is not None:
            self._targets = material.teacher.targets()
            network = Lesson(self.byol, recipe.teacher_weight)
        network = team.wrap(network, may_skip=material.teacher is not None)
        self._forward = torch.compile(network) if config.compile else network
        self.step, self.tally = 0, Tally()
        self.epochs: list[dict[str, Any]] = []
        self._saved_at = stopwatch.seconds

    def resume(self) -> None:
        """Continue from the checkpoint in the output folder.

        Raises:
            IndexFormatError: it is missing or damaged.
            MismatchError: it is of another run.
        """
        state = load_checkpoint(self.config.output)
        ours = self._identity()
        different = [key for key in ours if state["identity"].get(key) != ours[key]]
        if different:
            raise MismatchError(
                f"{self.config.output}: the checkpoint was made with other {', '.join(different)}; "
                "pass what it was started with, or leave --resume out"
            )
        if compare_shapes(state["byol"], _shapes(self.byol)):
            raise MismatchError(
                f"{self.config.output}: started by a release with another network; start a new run"
            )
        self.byol.load_state_dict(state["byol"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.step, self.tally = state["step"], Tally(**state["tally"])
        self.epochs = state["epochs"]
        self.stopwatch.add_earlier(state["seconds"])
        self._saved_at = self.stopwatch.seconds

    def save(self) -> None:
        """Write the checkpoint."""
        if not self.team.is_first:
            return
        save_checkpoint(
            self.config.output,
            {
                "identity": self._identity(),
                "byol": self.byol.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "step": self.step,
                "tally": asdict(self.tally),
                "seconds": self.stopwatch.seconds,
                "epochs": self.epochs,
            },
        )
        self._saved_at = self.stopwatch.seconds

    def _identity(self) -> dict[str, Any]:
        names = "\n".join(path.name for path in self.material.paths)
        teacher, sources = self.material.teacher, self.material.sources
        neighbours = self.views.neighbours
        return {
            "recipe": asdict(self.config.recipe),
            "architecture": self.config.architecture,
            "seed": self.config.seed,
            "accumulate": self.config.accumulate,
            "precision": self.config.precision,
            "tiles": _digest(names),
            "processes": self.team.size,
            "teacher": None if teacher is None else teacher.digest(),
            "sources": None if sources is None else _digest("\n".join(sources)),
            "neighbours": None if neighbours is None else neighbours.digest(),
        }

    def train_epoch(
        self, on_step: Callable[[TrainProgress], None], interruption: Interruption
    ) -> dict[str, Any]:
        """Train the rest of the epoch, with a checkpoint every `checkpoint_every_s`.

        Args:
            on_step: called after every step.
            interruption: delays SIGINT until the step is finished.

        Returns:
            Figures of the whole epoch, over all interruptions: `epoch`, `loss`, `feature_std`,
            `learning_rate`, `images_per_second`, `training_seconds`, `waiting`, the share of these
            seconds spent waiting for views, and, if views are of neighbours, `with_neighbours`, the
            number of tiles that have some.

        Raises:
            TrainingError: the loss is not finite, or memory runs out; the last checkpoint stands.
            ImageError: a tile can no longer be read.
        """
        asked = self.stopwatch.seconds
        for batch in self.batches():
            with interruption.step():
                ready = self.stopwatch.seconds
                # The step returns the loss, so its time includes the work of a GPU.
                loss, self.tally.feature_std = self.take_step(batch)
                self.tally.steps += 1
                self.tally.loss += loss
                self.tally.waiting_seconds += ready - asked
                self.tally.seconds += self.stopwatch.seconds - asked
            on_step(self._progress(loss))
            if self.stopwatch.seconds - self._saved_at > self.config.checkpoint_every_s:
                self.save()
            asked = self.stopwatch.seconds
        return self._figures()

    def close_epoch(self, figures: dict[str, Any]) -> None:
        """Append the figures of the epoch and reset the tally."""
        self.epochs, self.tally = [*self.epochs, figures], Tally()

    def _figures(self) -> dict[str, Any]:
        neighbours = self.views.neighbours
        return {
            "epoch": len(self.epochs) + 1,
            "loss": self.tally.loss / self.tally.steps,
            "feature_std": self.tally.feature_std,
            "learning_rate": self.schedule.get_last_lr()[0],
            "images_per_second": round(self._rate(), 2),
            "training_seconds": round(self.tally.seconds, 3),
            "waiting": round(self.tally.waiting, 3),
            **({} if neighbours is None else {"with_neighbours": neighbours.known}),
        }

    def _rate(self) -> float:
        return self.tally.steps * self.config.recipe.batch / max(self.tally.seconds, 1e-9)

    def batches(self) -> Iterator[list[Part]]:
        """Yield the remaining batches of the current epoch, each as its parts."""
        config, epoch = self.config, len(self.epochs)
        order = Order(
            self.draws,
            epoch=epoch,
            seed=config.seed,
            batch=config.recipe.batch,
            done=self.step - epoch * self.steps_an_epoch,
            share=Share(parts=config.accumulate, rank=self.team.rank, ranks=self.team.size),
        )
        loaded = zip(load(self.views, order, workers=config.workers), order, strict=True)
        parts = (Part(images, self.views.tiles(addresses)) for images, addresses in loaded)
        while batch := list(itertools.islice(parts, config.accumulate)):
            yield batch

    def take_step(self, batch: Sequence[Part]) -> tuple[float, float]:
        """Train on one batch.

        Args:
            batch: its parts.

        Returns:
            The loss of the batch and the spread of its projections.
        """
        recipe, total = self.config.recipe, 0.0
        try:
            for part in batch:
                given = [part.views]
                if self._targets is not None:
                    given.append(self._targets[part.tiles])
                with self.autocast():
                    loss, projections = self._forward(*(x.to(self.team.device) for x in given))
                (loss / len(batch)).backward()
                total += float(loss.detach()) / len(batch)
        except RuntimeError as error:  # how torch reports a lack of memory
            if "memory" not in str(error):
                raise
            raise TrainingError(
                f"out of memory with batch {recipe.batch} in {len(batch)} parts and crop "
                f"{recipe.crop_px} px; pass a larger --accumulate, or a smaller --batch or --crop"
            ) from error
        total = self.team.mean(total)  # so that all processes stop at the same step
        if not math.isfinite(total):
            raise TrainingError(
                f"the loss is {total} at step {self.step + 1}; the last checkpoint stands; "
                "lower --learning-rate and start a new run"
            )
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.byol.update_target(momentum_at(self.step, self.steps, recipe.momentum))
        return total, spread(projections)

    def autocast(self) -> torch.autocast:
        """Compute in the run's precision."""
        is_half = self.config.precision == "bfloat16"
        return torch.autocast(self.team.device.type, torch.bfloat16, enabled=is_half)

    def _progress(self, loss: float) -> TrainProgress:
        return TrainProgress(
            step=self.step,
            steps=self.steps,
            epoch=len(self.epochs) + 1,
            epochs=self.config.recipe.epochs,
            batch=self.config.recipe.batch,
            loss=loss,
            images_per_second=self._rate(),
        )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _shapes(network: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
