"""The settings of a training run, and its progress."""

from dataclasses import dataclass
from pathlib import Path

from histo_index.encoder.config import EncoderConfig
from histo_index.encoder.decode.preprocessing import Preprocessing
from histo_index.encoder.training.recipes import Recipe
from histo_index.errors import InputError


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The settings of a training run.

    Attributes:
        output: the encoder folder; the other files of the run are written there too.
        recipe: the hyperparameters.
        architecture: a key of ARCHITECTURES.
        seed: of weights, order and views.
        device: `cpu` or `cuda`.
        accumulate: parts that each batch is split into to save memory; batch norm sees one part.
        workers: processes that decode and augment; the result does not depend on their number.
        init: encoder folder to start from; None starts from random weights.
        compile: compile the network with torch: takes a minute or two at the start; for GPUs.
        precision: `bfloat16`, or `float32` where the hardware has no bfloat16.
        checkpoint_every_s: seconds between checkpoints, besides one per epoch. Together with the
            current step and the writing, an interruption loses less than five minutes.
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
    checkpoint_every_s: float = 240.0

    def __post_init__(self) -> None:
        part, rest = divmod(self.recipe.batch, self.accumulate) if self.accumulate > 0 else (0, 1)
        if rest or part < 2:
            raise InputError(
                f"a batch of {self.recipe.batch} cannot be cut into {self.accumulate} equal parts "
                "of at least 2; pass another --batch or --accumulate"
            )

    @property
    def encoder(self) -> EncoderConfig:
        """The description of the encoder, as far as it is known before the run."""
        return EncoderConfig(
            architecture=self.architecture,
            pooling=self.recipe.pooling,
            preprocessing=Preprocessing(resize_px=self.recipe.tile_px, crop_px=self.recipe.tile_px),
        )


@dataclass(frozen=True, kw_only=True)
class TrainProgress:
    """The progress of a run.

    Attributes:
        step: number of finished steps.
        steps: of the whole run.
        epoch: the current one, from 1.
        epochs: of the whole run.
        batch: tiles per step.
        loss: of the last step.
        images_per_second: of this process in the current epoch.
    """

    step: int
    steps: int
    epoch: int
    epochs: int
    batch: int
    loss: float
    images_per_second: float
