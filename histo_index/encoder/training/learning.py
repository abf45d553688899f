"""Optimiser and learning rate of a recipe."""

import math
from typing import Final

from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from histo_index.encoder.training.byol import Byol
from histo_index.encoder.training.recipes import Recipe

# Of the reference method.
_SGD_MOMENTUM: Final = 0.9


def make_optimizer(recipe: Recipe, byol: Byol) -> Optimizer:
    """Make the optimiser over everything that has a gradient."""
    parameters = [weight for weight in byol.parameters() if weight.requires_grad]
    if recipe.optimizer == "sgd":
        return SGD(
            parameters,
            lr=recipe.learning_rate,
            momentum=_SGD_MOMENTUM,
            weight_decay=recipe.weight_decay,
        )
    # Biases and norms are not decayed (Grill et al. 2020, section 3.3).
    groups = [
        {
            "params": [w for w in parameters if w.ndim > 1],
            "weight_decay": recipe.weight_decay,
        },
        {"params": [w for w in parameters if w.ndim <= 1], "weight_decay": 0.0},
    ]
    return AdamW(groups, lr=recipe.learning_rate)


def make_schedule(recipe: Recipe, optimizer: Optimizer, steps: int) -> LambdaLR:
    """Make the learning rate's course: a linear rise, then constant or down a cosine to 0."""
    rise = round(recipe.warmup * steps)

    def share(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        if not recipe.is_cosine:
            return 1.0
        return (1 + math.cos(math.pi * (step - rise) / max(steps - rise, 1))) / 2

    return LambdaLR(optimizer, share)
