"""Two processes that train as one; the first prints the loss of every step and of the epoch."""

import json
import os
import signal
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


def fork_learner(rank: int, output: str, *tiles: str) -> int:
    """Start a process of the team, told of the others as torchrun tells it; return its id."""
    process = os.fork()
    if not process:
        os.environ.update({"RANK": str(rank), "LOCAL_RANK": str(rank)})
        found = learn(Path(output), [Path(name) for name in tiles])
        if found["losses"]:
            print(json.dumps({"rank": rank, **found}), flush=True)
        os._exit(0)
    return process


if __name__ == "__main__":
    # Forks, so that torch is imported once.
    team = {fork_learner(rank, *sys.argv[1:]) for rank in range(2)}
    while team:
        process, status = os.wait()
        team.remove(process)
        if status:
            for other in team:
                os.kill(other, signal.SIGKILL)
            sys.exit(1)
