"""Training runs to be killed, one after the other: prints output, process and step of each.

Each is a fork, so that torch is imported once.
"""

import os
import sys
from functools import partial
from pathlib import Path

import torch

from histo_index.encoder.training.config import TrainProgress
from histo_index.encoder.training.train import train
from tests.encoder.training.conftest import config


def tell(output: str, state: TrainProgress) -> None:
    # Told before this step's checkpoint, so that of the step before is whole.
    print(output, os.getpid(), state.step, flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for output in sys.argv[1].split(os.pathsep):
        child = os.fork()
        if not child:
            train(
                [Path(name) for name in sys.argv[2:]],
                config(Path(output), checkpoint_every_s=0.0),
                data={"licence": "CC0-1.0", "mpp": 0.5},
                on_step=partial(tell, output),
            )
            os._exit(0)
        os.waitpid(child, 0)
