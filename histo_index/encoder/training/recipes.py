"""The recipes: the views of a tile, the hyperparameters, the optimiser and its schedule."""

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torchvision.transforms import v2

from histo_index.encoder.config import COVARIANCE, MEAN, PROJECTION
from histo_index.encoder.training.augment import QuarterTurn, StainJitter, TissueCrop
from histo_index.encoder.training.byol import Byol
from histo_index.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The hyperparameters of a run.

    Attributes:
        name: `histology`, `reference` or `distil`.
        crop_px: side of a view.
        tile_px: shorter side of a tile at inference; part of the preprocessing of the encoder.
        pooling: how features become an embedding, see `EncoderConfig`; the embedding is projected.
        batch: tiles per step; two views each.
        epochs: passes over the tiles.
        optimizer: `sgd` or `adamw`.
        learning_rate: the highest.
        weight_decay: of the weights; under adamw not of biases and norms.
        warmup: share of the steps over which the learning rate rises.
        is_cosine: whether the learning rate falls to 0 along a cosine, or stays constant.
        momentum: of the moving average, at the first step.
        hidden: width of projector and predictor.
        projection: output size of projector and predictor.
        teacher_weight: share of distillation in the loss of tiles that a teacher knows, see
            `Lesson`.
        head_rate: the learning rate of all that is not the network, as a multiple of its rate.
        frozen_stages: stages that stay as they start, with all before them.
        is_norm_fixed: whether norms keep the statistics that they start with.
        crossing: share of views that are given part of the colours of another tile.
        neighbours: share of tiles whose second view is of a tile that touches them on their slide,
            of the tiles that have such neighbours.
    """

    name: str
    crop_px: int
    tile_px: int
    pooling: str
    batch: int
    epochs: int
    optimizer: str
    learning_rate: float
    weight_decay: float
    warmup: float
    is_cosine: bool
    momentum: float
    hidden: int
    projection: int
    teacher_weight: float = 0.0
    head_rate: float = 1.0
    frozen_stages: int = 0
    is_norm_fixed: bool = False
    crossing: float = 0.0
    neighbours: float = 0.0

    def __post_init__(self) -> None:
        counts = (self.crop_px, self.tile_px, self.batch, self.epochs, self.hidden, self.projection)
        if min(counts) < 1 or self.batch < 2:
            raise InputError(f"{self}: sizes, epochs and batch must be positive, the batch above 1")
        if not (self.learning_rate > 0 and 0 <= self.momentum <= 1):
            raise InputError(
                f"learning rate {self.learning_rate}, momentum {self.momentum}; expected a rate "
                "above 0 and a momentum from 0 to 1"
            )
        if not 0 <= self.teacher_weight <= 1:
            raise InputError(f"teacher weight {self.teacher_weight}; expected 0 to 1")
        if not 0 <= self.neighbours <= 1:
            raise InputError(f"share of neighbours {self.neighbours}; expected 0 to 1")

    def views(self) -> v2.Transform:
        """Return the random transform from a tile, uint8 [3, H, W], to a view [3, crop, crop]."""
        makers = {"reference": _reference, "histology": _histology, "distil": _distil}
        return makers[self.name](self)


# From the reference method.
_SGD_MOMENTUM: Final = 0.9
# The constants of the reference method, for comparison.
REFERENCE: Final = Recipe(
    name="reference",
    crop_px=224,
    tile_px=224,
    pooling=MEAN,
    batch=32,
    epochs=30,
    optimizer="sgd",
    learning_rate=3e-4,
    weight_decay=1.5e-6,
    warmup=0.0,
    is_cosine=False,
    momentum=0.996,
    hidden=2048,
    projection=512,
)
HISTOLOGY: Final = Recipe(
    name="histology",
    # Two views of a quarter of the tile each mostly show different parts of one tissue.
    crop_px=64,
    tile_px=128,
    # See benchmarks/pooling.py and ablation.py.
    pooling=COVARIANCE,
    batch=64,
    epochs=30,
    # Not LARS as published, which needs batches of thousands.
    optimizer="adamw",
    learning_rate=5e-4,
    weight_decay=1e-2,
    warmup=0.05,
    is_cosine=True,
    # Below the published 0.996, which is for a million steps and not for some thousands.
    momentum=0.99,
    hidden=2048,
    # As published.
    projection=256,
    neighbours=0.5,
)
# For a run with a teacher, from an encoder that is trained already.
DISTIL: Final = Recipe(
    name="distil",
    # The scale of inference at less than half its area: a step costs as much less.
    crop_px=128,
    tile_px=192,
    pooling=PROJECTION,
    batch=16,
    epochs=30,
    optimizer="adamw",
    learning_rate=2e-4,
    weight_decay=1e-2,
    warmup=0.02,
    is_cosine=True,
    momentum=0.99,
    hidden=2048,
    projection=256,
    # BYOL beside it costs half as much time again.
    teacher_weight=1.0,
    head_rate=5.0,
    frozen_stages=1,
    is_norm_fixed=True,
    crossing=0.5,
)
RECIPES: Final = {recipe.name: recipe for recipe in (HISTOLOGY, REFERENCE, DISTIL)}


def _reference(recipe: Recipe) -> v2.Transform:
    return v2.Compose(
        [
            v2.RandomApply([v2.ColorJitter(0.8, 0.8, 0.8, 0.2)], p=0.5),
            v2.RandomGrayscale(p=0.4),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.GaussianBlur(23)], p=0.4),
            v2.RandomSolarize(threshold=128, p=0.4),
            v2.RandomResizedCrop(recipe.crop_px, antialias=True),
        ]
    )


def _histology(recipe: Recipe) -> v2.Transform:
    """Crop first, so that all later steps work on the small view."""
    return v2.Compose(
        [
            # A zoom of 1.25: 20× looks like 16× to 25×, not like 10× or 40×.
            TissueCrop(recipe.crop_px, tile_px=recipe.tile_px, zoom=1.25),
            v2.RandomHorizontalFlip(),
            QuarterTurn(),
            v2.ToDtype(torch.float32, scale=True),
            StainJitter(0.2),
            # Scanners differ in brightness and contrast more than in hue.
            v2.RandomApply([v2.ColorJitter(0.15, 0.15, 0.15, 0.03)], p=0.8),
            # Without grey views, colour alone would identify the two views of a tile.
            v2.RandomGrayscale(p=0.1),
            v2.RandomApply([v2.GaussianBlur(7, sigma=(0.1, 1.5))], p=0.3),
            v2.ToDtype(torch.uint8, scale=True),
        ]
    )


def _distil(recipe: Recipe) -> v2.Transform:
    """Change a tile as slides differ, and no more: its target is that of the whole tile."""
    return v2.Compose(
        [
            TissueCrop(recipe.crop_px, tile_px=recipe.tile_px, zoom=1.25),
            v2.RandomHorizontalFlip(),
            QuarterTurn(),
            v2.ToDtype(torch.float32, scale=True),
            StainJitter(0.2),
            v2.ToDtype(torch.uint8, scale=True),
        ]
    )


def make_optimizer(recipe: Recipe, byol: Byol) -> Optimizer:
    """Build the optimiser of all parameters that have a gradient."""
    parameters = [weight for weight in byol.parameters() if weight.requires_grad]
    if recipe.optimizer == "sgd":
        return SGD(
            parameters,
            lr=recipe.learning_rate,
            momentum=_SGD_MOMENTUM,
            weight_decay=recipe.weight_decay,
        )
    network = {id(weight) for weight in byol.online.trunk.network.parameters()}
    groups = []
    for rate, own in (
        (recipe.learning_rate, [w for w in parameters if id(w) in network]),
        (recipe.learning_rate * recipe.head_rate, [w for w in parameters if id(w) not in network]),
    ):
        # Biases and norms are not decayed (Grill et al. 2020, section 3.3).
        kernels, others = [w for w in own if w.ndim > 1], [w for w in own if w.ndim <= 1]
        groups.append({"params": kernels, "lr": rate, "weight_decay": recipe.weight_decay})
        groups.append({"params": others, "lr": rate, "weight_decay": 0.0})
    return AdamW(groups)


def make_schedule(recipe: Recipe, optimizer: Optimizer, steps: int) -> LambdaLR:
    """Build the schedule of the learning rate: a linear rise, then constant or a cosine to 0."""
    rise = round(recipe.warmup * steps)

    def share(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        if not recipe.is_cosine:
            return 1.0
        return (1 + math.cos(math.pi * (step - rise) / max(steps - rise, 1))) / 2

    return LambdaLR(optimizer, share)
