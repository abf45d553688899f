"""One of two processes that train as one; writes the loss of every step and the first weights."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from histo_index.encoder.training.config import TrainConfig, TrainProgress
from histo_index.encoder.training.recipes import HISTOLOGY
from histo_index.encoder.training.train import train


def learn(output: Path, tiles: list[Path]) -> dict[str, Any]:
    """Train, and return the losses that this process told and that of the epoch."""
    # Plain gradient steps: AdamW makes as much of a gradient that is all rounding as of a real one.
    recipe = replace(
        HISTOLOGY, crop_px=32, tile_px=48, batch=8, epochs=1, hidden=32, projection=16,
        optimizer="sgd", learning_rate=0.05, warmup=0.0,
    )  # fmt: skip
    losses: list[float] = []

    def tell(state: TrainProgress) -> None:
        losses.append(state.loss)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    report = train(
        tiles,
        TrainConfig(
            output=output, recipe=recipe, architecture="resnet18", workers=0, precision="float32"
        ),
        on_step=tell,
    )
    torch.set_num_threads(threads)
    return {"losses": losses, "epoch": report.epochs[0]["loss"]}


if __name__ == "__main__":
    found = learn(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
    if found["losses"]:
        print(json.dumps(found))
