"""Speed of BYOL training, compared with the loop of the reference method on one machine.

The reference method's loop is written out below as it is: float32, one network call for each view,
on images stored channel by channel. Both sides learn from the same images in memory, so that this
is about the network.
"""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import measuring
import torch
import torchvision
from torch.nn import functional

from histo_index.demo.tiles import write_tiles
from histo_index.encoder.training.batches.material import Material, Part
from histo_index.encoder.training.byol import perceptron
from histo_index.encoder.training.checkpoint import Stopwatch
from histo_index.encoder.training.config import TrainConfig
from histo_index.encoder.training.distributed import Team
from histo_index.encoder.training.loop import Run
from histo_index.encoder.training.recipes import REFERENCE, Recipe
from histo_index.encoder.training.train import keep_freed_memory

_STEPS: Final = 2


def main() -> None:
    options = measuring.parser(__doc__)
    options.add_argument("--arch", default="resnext50_32x4d")
    options.add_argument("--crop", type=int, default=96)
    options.add_argument("--batch", type=int, default=16)
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options.add_argument("--output", type=Path, default=Path("training-speed"))
    given = options.parse_args()
    keep_freed_memory()
    recipe = replace(REFERENCE, crop_px=given.crop, tile_px=given.crop, batch=given.batch)
    tiles = given.output / "tiles"
    write_tiles(tiles, tiles_per_category=-(-given.batch // 8), size_px=256)
    paths = sorted(tiles.rglob("*.png"))
    jobs = {
        "reference method's loop": reference_step(given.arch, recipe, given.device),
    }
    is_on_gpu = given.device != "cpu"
    for precision in ["float32", "bfloat16"] if is_on_gpu else measuring.usable_precisions():
        step = our_step(given.arch, recipe, paths, precision, given.device)
        jobs[f"ours, {precision}"] = step
    rates = measuring.interleave(
        {name: _repeated(step, given.batch) for name, step in jobs.items()}, repeats=given.repeats
    )
    measuring.print_machine()
    print(f"{given.arch}, views of {given.crop} px, batch {given.batch}: tiles/s, two views each\n")
    base = rates["reference method's loop"]
    measuring.print_table(
        ("loop", "tiles/s", "× reference loop"),
        [
            (name, measuring.spread(found), measuring.spread(measuring.ratios(found, base)))
            for name, found in rates.items()
        ],
    )


def _repeated(step: Callable[[], None], batch: int) -> measuring.Job:
    def job() -> int:
        for _ in range(_STEPS):
            step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return _STEPS * batch

    return job


def reference_step(arch: str, recipe: Recipe, device: str) -> Callable[[], None]:
    """The reference method's step: its libraries' defaults, one call for each view."""
    network = torchvision.models.get_model(arch, weights=None)
    network.fc = torch.nn.Identity()
    size = {"resnet18": 512}.get(arch, 2048)
    online = torch.nn.Sequential(network, perceptron(size, recipe.hidden, recipe.projection))
    online = online.to(device)
    target = copy.deepcopy(online)
    predictor = perceptron(recipe.projection, recipe.hidden, recipe.projection).to(device)
    parameters = [*online.parameters(), *predictor.parameters()]
    optimizer = torch.optim.SGD(
        parameters, lr=recipe.learning_rate, momentum=0.9, weight_decay=recipe.weight_decay
    )
    side = recipe.crop_px
    views = torch.rand(2, recipe.batch, 3, side, side, device=device)

    def step() -> None:
        guesses = [predictor(online(view)) for view in views]
        with torch.no_grad():
            aims = [target(view) for view in views]
        losses = [
            2 - 2 * functional.cosine_similarity(guess, aim)
            for guess, aim in zip(guesses, reversed(aims), strict=True)
        ]
        optimizer.zero_grad()
        torch.autograd.backward((losses[0] + losses[1]).mean())
        optimizer.step()
        with torch.no_grad():
            for ours, theirs in zip(target.parameters(), online.parameters(), strict=True):
                ours.mul_(recipe.momentum).add_(theirs, alpha=1 - recipe.momentum)

    return step


def our_step(
    arch: str, recipe: Recipe, paths: list[Path], precision: str, device: str
) -> Callable[[], None]:
    """A step of `histo-index train` on views in memory."""
    config = TrainConfig(
        output=Path("unused"), recipe=recipe, architecture=arch, precision=precision, device=device
    )
    team = Team(rank=0, size=1, device=torch.device(device))
    run = Run(config, Material(paths=paths), team, Stopwatch())
    # So many that the schedules have an end.
    run.steps = 10_000
    side = recipe.crop_px
    views = torch.randint(0, 256, (2 * recipe.batch, side, side, 3), dtype=torch.uint8)

    def step() -> None:
        run.take_step([Part(views, list(range(recipe.batch)))])

    return step


if __name__ == "__main__":
    main()
