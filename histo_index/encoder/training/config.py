"""What a training run is asked to do, and how far it is."""

from dataclasses import dataclass
from pathlib import Path

from histo_index.encoder.config import EncoderConfig
from histo_index.encoder.decode.preprocessing import Preprocessing
from histo_index.encoder.training.recipes import Recipe
from histo_index.errors import InputError


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
        checkpoint_every_s: seconds between checkpoints, besides one an epoch. With the step at work
            and the writing, an interruption loses less than five minutes.
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
        images_per_second: of this process's steps of the epoch so far.
    """

    step: int
    steps: int
    epoch: int
    epochs: int
    batch: int
    loss: float
    images_per_second: float
