"""Measure each part of the `histology` recipe: the whole recipe, then with one change each.

Small (ResNet-18, four epochs by default), so that anyone can run it; with `--seeds 3` each line is
run three times. One source of the training tiles is left out and judged on, never `eval/`: a
recipe is judged on tissue that it has not seen. Finished runs are kept in the output folder and
not repeated.
"""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import measuring
import torch
import training_split
from torchvision.transforms import v2

from histo_index.api.training.monitor_file import read_monitor
from histo_index.encoder.config import MEAN
from histo_index.encoder.folder import load_encoder
from histo_index.encoder.runtime.openvino import has_bfloat16
from histo_index.encoder.runtime.reference import load_trunk
from histo_index.encoder.training.config import TrainConfig
from histo_index.encoder.training.monitor import LOG_NAME, Monitor, embed
from histo_index.encoder.training.recipes import HISTOLOGY, Recipe
from histo_index.encoder.training.train import train

# Of the tiles judged on, so that this takes seconds an epoch.
_EVERY: Final = 3


@dataclass(frozen=True, kw_only=True)
class Changed(Recipe):
    """The histology recipe with a step of its views left out, or cropped as photographs are.

    Attributes:
        without: name of the transform to leave out; empty for none.
        photo_crop: 8 to 100 % of the tile's area, as published for photographs.
    """

    without: str = ""
    photo_crop: bool = False

    def views(self) -> v2.Transform:
        steps: list[Any] = [
            step for step in self._steps() if _name(step) not in self.without.split("+")
        ]
        if self.photo_crop:
            steps[0] = v2.RandomResizedCrop(self.crop_px, antialias=True)
        return v2.Compose(steps)

    def _steps(self) -> Iterator[Any]:
        yield from super().views().transforms


_FIELDS: Final = {name: getattr(HISTOLOGY, name) for name in HISTOLOGY.__dataclass_fields__}
VARIANTS: Final[dict[str, dict[str, Any]]] = {
    "histology, whole": {},
    "without flips and quarter-turns": {"without": "RandomHorizontalFlip+QuarterTurn"},
    "without stain jitter": {"without": "StainJitter"},
    "without colour jitter": {"without": "ColorJitter"},
    "without grey views": {"without": "RandomGrayscale"},
    "without blur": {"without": "GaussianBlur"},
    "crops as for photographs": {"photo_crop": True},
    "SGD 3e-4, constant (reference)": {
        "optimizer": "sgd", "learning_rate": 3e-4, "weight_decay": 1.5e-6, "warmup": 0.0,
        "is_cosine": False,
    },
    "moving average from 0.996": {"momentum": 0.996},
    "batch 32": {"batch": 32},
    "mean of the last stage": {"pooling": MEAN},
}  # fmt: skip
# Learnt from the one, pooled as the other.
_BY_MEAN: Final = "mean of the last stage"
_POOLED: Final = "learnt from that mean, pooled as `histology`"

FIGURES: Final = {
    "diffused_pair_auc": "pair ROC-AUC, diffused",
    "pair_auc": "pair ROC-AUC, plain",
    "neighbour_accuracy": "nearest right, plain",
}


def main() -> None:
    options = measuring.parser(__doc__)
    options.add_argument("--output", type=Path, default=Path("ablation"), help="folder of the runs")
    options.add_argument("--arch", default="resnet18")
    options.add_argument("--epochs", type=int, default=4)
    options.add_argument("--seeds", type=int, default=1)
    options.add_argument("--without", default="lc25000", help="source to judge on")
    given = options.parse_args()
    logging.basicConfig(format="%(message)s")
    torch.set_num_threads(1)
    rows, _ = training_split.split()
    unseen = [row for row in rows if row["group"].startswith(f"{given.without}:")]
    paths = [training_split.DATA / row["path"] for row in rows if row not in unseen]
    given.output.mkdir(parents=True, exist_ok=True)
    monitor = _monitor(given.output / "unseen.csv", unseen[::_EVERY])
    found: dict[str, list[dict[str, float]]] = {}
    for seed in range(given.seeds):
        for name, changes in VARIANTS.items():
            recipe = Changed(**{**_FIELDS, "epochs": given.epochs, **changes})
            output = given.output / f"{_slug(name)}-{seed}"
            measuring.tell(f"{name}, seed {seed}")
            config = TrainConfig(
                output=output,
                recipe=recipe,
                architecture=given.arch,
                precision="bfloat16" if has_bfloat16() else "float32",
                seed=seed,
                workers=0,
            )
            found.setdefault(name, []).append(_run(paths, config, monitor))
            if name == _BY_MEAN:
                found.setdefault(_POOLED, []).append(_judge(output, HISTOLOGY.pooling, monitor))
    measuring.print_machine()
    print(f"{given.arch}, {given.epochs * len(paths):,} tiles seen, judged on {given.without}.\n")
    report(found)


def _run(paths: list[Path], config: TrainConfig, monitor: Monitor) -> dict[str, float]:
    if not (config.output / LOG_NAME).is_file():
        train(paths, config, monitor=monitor)
    figures: dict[str, float] = json.loads((config.output / LOG_NAME).read_text().splitlines()[-1])
    return figures


def _judge(folder: Path, pooling: str, monitor: Monitor) -> dict[str, float]:
    """Judge an encoder by another pooling than its own."""
    encoder = load_encoder(folder)
    pooled = replace(encoder, config=replace(encoder.config, pooling=pooling))
    with torch.autocast("cpu", torch.bfloat16, enabled=has_bfloat16()):  # as in the run itself
        embeddings = embed(load_trunk(pooled), monitor.images, device=torch.device("cpu"))
    return dict(monitor.measure(embeddings)[0].figures())


def _monitor(path: Path, rows: list[training_split.Row]) -> Monitor:
    lines = ["path,label,group", *(f"{r['path']},{r['label']},{r['group']}" for r in rows)]
    path.write_text("\n".join(lines) + "\n")
    spec = TrainConfig(output=path.parent, recipe=HISTOLOGY).encoder.preprocessing
    return read_monitor(path, spec, root=training_split.DATA)


def _name(step: Any) -> str:
    inner = step.transforms[0] if isinstance(step, v2.RandomApply) else step
    return type(inner).__name__


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name)


def report(found: dict[str, list[dict[str, float]]]) -> None:
    rows = [
        (
            name,
            *(measuring.spread([run[figure] for run in runs], digits=3) for figure in FIGURES),
        )
        for name, runs in found.items()
    ]
    measuring.print_table(("recipe", *FIGURES.values()), rows)


if __name__ == "__main__":
    main()
