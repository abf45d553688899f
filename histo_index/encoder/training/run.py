"""The training run: steps, epochs, checkpoints. What is decided elsewhere is named in TrainConfig.

Everything random follows from the seed and the position in the run (see `tiles`), and everything
else that decides the next step is in the checkpoint: so a resumed run ends as an uninterrupted one.
"""

import hashlib
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from histo_index.encoder.config import EncoderConfig
from histo_index.encoder.folder import load_encoder
from histo_index.encoder.preprocessing import Preprocessing
from histo_index.encoder.training.byol import Byol, momentum_at, start_from
from histo_index.encoder.training.checkpoint import load_checkpoint, save_checkpoint
from histo_index.encoder.training.learning import make_optimizer, make_schedule
from histo_index.encoder.training.parallel import Team, synchronise
from histo_index.encoder.training.pointwise import multiply_points
from histo_index.encoder.training.recipes import Recipe
from histo_index.encoder.training.tiles import Order, Share, Views, load
from histo_index.encoder.training.watch import spread
from histo_index.encoder.trunk import compare_shapes
from histo_index.errors import InputError, MismatchError, TrainingError


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A training run.

    Attributes:
        output: the encoder folder to be; the run's own files lie in it too.
        recipe: what is learnt, and how.
        architecture: a key of ARCHITECTURES.
        seed: of weights, order and views.
        device: `cpu` or `cuda`.
        accumulate: parts that each batch is cut into to save memory. Batch norm sees a part.
        workers: processes that decode and make views; the result does not depend on it.
        init: encoder folder to start from; left out, random weights.
        compile: let torch compile the network: a minute or two at the start; pays on GPUs.
        precision: `bfloat16`, or `float32` where the hardware has no other.
        checkpoint_every_s: seconds between checkpoints, besides one an epoch.
    """

    output: Path
    recipe: Recipe
    architecture: str = "resnext50_32x4d"
    seed: int = 0
    device: str = "cpu"
    accumulate: int = 1
    workers: int = 0
    init: Path | None = None
    compile: bool = False
    precision: str = "bfloat16"
    checkpoint_every_s: float = 600.0

    def __post_init__(self) -> None:
        part, rest = divmod(self.recipe.batch, self.accumulate) if self.accumulate > 0 else (0, 1)
        if rest or part < 2:
            raise InputError(
                f"a batch of {self.recipe.batch} cannot be cut into {self.accumulate} equal parts "
                "of at least 2; pass another --batch or --accumulate"
            )

    @property
    def encoder(self) -> EncoderConfig:
        """The encoder to be, as far as it is settled before the run."""
        return EncoderConfig(
            architecture=self.architecture,
            pooling=self.recipe.pooling,
            preprocessing=Preprocessing(resize_px=self.recipe.tile_px, crop_px=self.recipe.tile_px),
        )


@dataclass(frozen=True, kw_only=True)
class TrainProgress:
    """How far a run is.

    Attributes:
        step: steps done.
        steps: of the whole run.
        epoch: the one at work, from 1.
        epochs: of the whole run.
        batch: tiles a step.
        loss: of the last step.
        images_per_second: of this process's steps so far.
    """

    step: int
    steps: int
    epoch: int
    epochs: int
    batch: int
    loss: float
    images_per_second: float


class Run:
    """A run at some step.

    Attributes:
        byol: the networks.
        step: steps done.
        epochs: figures of every epoch done.
        seconds: worked on it, over all interruptions.
    """

    def __init__(self, config: TrainConfig, paths: Sequence[Path], team: Team) -> None:
        """Start at step 0.

        Raises:
            InputError: fewer tiles than a batch.
            MismatchError: the encoder to start from is no start for it, see `start_from`.
        """
        self.config, self.paths, self.team = config, paths, team
        recipe = config.recipe
        self.steps_an_epoch = len(paths) // recipe.batch
        if not self.steps_an_epoch:
            raise InputError(
                f"{len(paths)} usable tiles are fewer than a batch of {recipe.batch}; "
                "add tiles or pass a smaller --batch"
            )
        self.steps = self.steps_an_epoch * recipe.epochs
        self.byol = self._make_networks().to(  # type: ignore[call-overload]
            device=team.device, memory_format=torch.channels_last
        )
        self.optimizer = make_optimizer(recipe, self.byol)
        self.schedule = make_schedule(recipe, self.optimizer, self.steps)
        network = team.wrap(self.byol)
        self._forward = torch.compile(network) if config.compile else network
        self.step, self.seconds = 0, 0.0
        self.epochs: list[dict[str, Any]] = []

    def _make_networks(self) -> Byol:
        config = self.config
        torch.manual_seed(config.seed)
        byol = Byol(config.encoder, hidden=config.recipe.hidden, size=config.recipe.projection)
        if config.init is not None:
            start_from(byol, load_encoder(config.init), config.encoder)
        byol.update_target(0.0)  # both start as one
        if self.team.device.type == "cpu":
            multiply_points(byol)
        synchronise(byol, self.team)
        return byol

    def resume(self) -> None:
        """Go on from the checkpoint in the output folder.

        Raises:
            IndexFormatError: there is none, or it is damaged.
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
        if compare_shapes(state["byol"], self.byol.state_dict()):
            raise MismatchError(
                f"{self.config.output}: begun by a release with another network; start it anew"
            )
        self.byol.load_state_dict(state["byol"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.step, self.seconds = state["step"], state["seconds"]
        self.epochs = state["epochs"]

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
                "seconds": self.seconds,
                "epochs": self.epochs,
            },
        )

    def _identity(self) -> dict[str, Any]:
        names = "\n".join(path.name for path in self.paths)
        return {
            "recipe": asdict(self.config.recipe),
            "architecture": self.config.architecture,
            "seed": self.config.seed,
            "accumulate": self.config.accumulate,
            "precision": self.config.precision,
            "tiles": hashlib.sha256(names.encode()).hexdigest(),
            "processes": self.team.size,
        }

    def train_epoch(self, tell: Callable[[TrainProgress], None]) -> dict[str, Any]:
        """Work through what is left of the epoch.

        Returns:
            Its figures: `epoch`, `loss`, `feature_std`, `learning_rate`, `images_per_second`, and
            `waiting`, the share of the time without views to learn from.

        Raises:
            TrainingError: the loss is not finite, or memory runs out; the last checkpoint stands.
            ImageError: a tile that was there at the start cannot be read any more.
        """
        started = saved = now = time.monotonic()
        before, rate, std, waited = self.seconds, 0.0, 0.0, 0.0
        losses: list[float] = []
        for batch in self._batches():
            waited += time.monotonic() - now
            # It ends with the loss in hand, so a GPU's work is in its time.
            loss, std = self.take_step(batch)
            losses.append(loss)
            now = time.monotonic()
            self.seconds = before + now - started
            rate = len(losses) * self.config.recipe.batch / (now - started)
            tell(self._progress(loss, rate))
            if now - saved > self.config.checkpoint_every_s:
                self.save()
                saved = now = time.monotonic()
        return {
            "epoch": self.step // self.steps_an_epoch,
            "loss": self.team.mean(sum(losses) / len(losses)),
            "feature_std": std,
            "learning_rate": self.schedule.get_last_lr()[0],
            "images_per_second": round(rate, 2),
            "waiting": round(waited / max(now - started, 1e-9), 3),
        }

    def _batches(self) -> Iterator[list[torch.Tensor]]:
        """Make the batches of the epoch at work, each in its parts."""
        epoch, done = divmod(self.step, self.steps_an_epoch)
        config = self.config
        order = Order(
            len(self.paths),
            epoch=epoch,
            seed=config.seed,
            batch=config.recipe.batch,
            done=done,
            share=Share(parts=config.accumulate, rank=self.team.rank, ranks=self.team.size),
        )
        views = Views(self.paths, config.recipe.views(), seed=config.seed)
        parts = iter(load(views, order, workers=config.workers))
        while batch := list(itertools.islice(parts, config.accumulate)):
            yield batch

    def take_step(self, batch: Sequence[torch.Tensor]) -> tuple[float, float]:
        """Learn from one batch; gives its loss and how spread its projections are."""
        recipe, total = self.config.recipe, 0.0
        try:
            for part in batch:
                with self.autocast():
                    loss, projections = self._forward(part.to(self.team.device))
                (loss / len(batch)).backward()
                total += float(loss.detach()) / len(batch)
        except RuntimeError as error:  # of torch, that memory ran out too
            if "memory" not in str(error):
                raise
            raise TrainingError(
                f"out of memory with batch {recipe.batch} in {len(batch)} parts and crop "
                f"{recipe.crop_px} px; pass a larger --accumulate, or a smaller --batch or --crop"
            ) from error
        if not math.isfinite(total):
            raise TrainingError(
                f"the loss is {total} at step {self.step + 1}; the state before stands: lower "
                "--learning-rate and start anew"
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

    def _progress(self, loss: float, rate: float) -> TrainProgress:
        return TrainProgress(
            step=self.step,
            steps=self.steps,
            epoch=-(-self.step // self.steps_an_epoch),
            epochs=self.config.recipe.epochs,
            batch=self.config.recipe.batch,
            loss=loss,
            images_per_second=rate,
        )
