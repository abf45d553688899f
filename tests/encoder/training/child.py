"""A training run to be killed: prints each step once the checkpoint behind it is on disk."""

import sys
from dataclasses import replace
from pathlib import Path

import torch

from histo_index.encoder.training.config import TrainConfig, TrainProgress
from histo_index.encoder.training.recipes import HISTOLOGY
from histo_index.encoder.training.train import train


def tell(state: TrainProgress) -> None:
    # Told before this step's checkpoint, so that of the step before is whole.
    print(state.step, flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    tiny = replace(HISTOLOGY, crop_px=32, tile_px=48, batch=4, epochs=2, hidden=32, projection=16)
    train(
        [Path(name) for name in sys.argv[2:]],
        TrainConfig(
            output=Path(sys.argv[1]),
            recipe=tiny,
            architecture="resnet18",
            workers=0,
            checkpoint_every_s=0.0,
        ),
        data={"licence": "CC0-1.0", "mpp": 0.5},
        tell=tell,
    )
