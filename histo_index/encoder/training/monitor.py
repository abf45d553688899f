"""See a run while it lasts: figures of every epoch, as lines and as a picture."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from histo_index.arrays import Float32
from histo_index.encoder.decode.image_file import DecodeLimits, Pixels
from histo_index.encoder.decode.pool import DecodePool
from histo_index.encoder.decode.worker import DecodeSettings
from histo_index.encoder.runtime.reference import Trunk
from histo_index.encoder.training.config import TrainConfig
from histo_index.errors import ImageError, InputError
from histo_index.files import replace_file
from histo_index.hardware import usable_cores
from histo_index.wording import counted

LOG_NAME: Final = "train.jsonl"
# Of the machine, not of the network.
_NOT_DRAWN: Final = ("training_seconds", "monitoring_seconds", "images_per_second", "waiting")
PLOT_NAME: Final = "train.png"
_BATCH: Final = 32


@dataclass(frozen=True, kw_only=True)
class Monitor:
    """A labelled set that a run is watched by and that never touches its weights.

    Attributes:
        name: of the file it comes from, for the model card.
        images: uint8 RGB [S, S, 3] each, fitted as for inference.
        judge: takes their embeddings, float32 [N, D] of length 1, gives figures by name; those
            of THRESHOLD_FIELDS become the encoder's published ones.
        decisive: the figure whose highest value marks the best epoch.
    """

    name: str
    images: Sequence[Pixels]
    judge: Callable[[Float32], Mapping[str, float]]
    decisive: str


def embed(trunk: Trunk, images: Sequence[Pixels], *, device: torch.device) -> Float32:
    """Encode images as inference does, and leave the trunk as it was.

    Args:
        trunk: in whatever mode.
        images: uint8 RGB [S, S, 3] each, fitted.
        device: where the trunk is.

    Returns:
        float32 [N, D], rows of length 1; NaN where the network gives no features.
    """
    was_training = trunk.training
    trunk.eval()
    rows = []
    with torch.no_grad():
        for start in range(0, len(images), _BATCH):
            batch = torch.from_numpy(np.stack(images[start : start + _BATCH])).to(device)
            rows.append(trunk(batch).float().cpu())
    trunk.train(was_training)
    features = torch.cat(rows)
    unit: Float32 = (features / features.norm(dim=1, keepdim=True)).numpy()
    return unit


def effective_rank(embeddings: Float32) -> float:
    """Count the directions that embeddings really use; 1 means they lie on a line.

    Args:
        embeddings: float32 [N, D].

    Returns:
        The exponential of the entropy of the centred singular values, 1 to min(N, D).

    Source: Roy & Vetterli (2007), The effective rank: a measure of effective dimensionality.
    """
    values = np.linalg.svd(embeddings - embeddings.mean(axis=0), compute_uv=False)
    total = values.sum()
    if not total > 0:
        return 1.0
    shares = values[values > 0] / total
    return float(np.exp(-(shares * np.log(shares)).sum()))


def spread(projections: torch.Tensor) -> float:
    """Measure how much projections differ from tile to tile.

    Args:
        projections: float [B, size].

    Returns:
        The mean standard deviation of the unit vectors' entries, times √size: 1 spread evenly over
        the sphere, 0 all the same, which is collapse.

    Source: Chen & He (2021), Exploring simple siamese representation learning, section 4.1.
    """
    unit = torch.nn.functional.normalize(projections.detach().float(), dim=1)
    return float(unit.std(dim=0).mean() * unit.shape[1] ** 0.5)


def write_log(folder: Path, epochs: Sequence[Mapping[str, Any]]) -> None:
    """Write a line per epoch to `train.jsonl`, whole or not at all."""
    text = "".join(json.dumps(epoch) + "\n" for epoch in epochs)
    replace_file(folder / LOG_NAME, text.encode())


def draw(folder: Path, epochs: Sequence[Mapping[str, Any]]) -> None:
    """Draw every figure over the epochs to `train.png`."""
    import io

    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    names = [
        name
        for name, value in epochs[-1].items()
        if isinstance(value, float) and name not in _NOT_DRAWN
    ]
    columns = 3
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(4 * columns, 2.6 * rows), layout="constrained")
    at = [epoch["epoch"] for epoch in epochs]
    for place, name in enumerate(names, start=1):
        axes = figure.add_subplot(rows, columns, place)
        axes.plot(
            at, [float(epoch.get(name, "nan")) for epoch in epochs], marker=".", color="#7b2d8e"
        )
        axes.set_title(name.replace("_", " "), fontsize=10)
        axes.set_xlabel("epoch", fontsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=100)
    replace_file(folder / PLOT_NAME, picture.getvalue())


_log = logging.getLogger(__name__)


# Tiles whose embeddings show whether the network still tells tiles apart.
_PROBES: Final = 256


@dataclass(kw_only=True)
class Tiles:
    """Tiles that can be used, some of them fitted as probes, and those that cannot."""

    paths: list[Path] = field(default_factory=list)
    probes: list[Pixels] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    contents: set[str] = field(default_factory=set)


def examine(paths: Sequence[Path], config: TrainConfig) -> Tiles:
    """Decode every tile once, where a bad one can do no harm."""
    tiles = Tiles()
    settings = DecodeSettings(limits=DecodeLimits(), preprocessing=config.encoder.preprocessing)
    every = max(len(paths) // _PROBES, 1)
    with DecodePool(settings, workers=usable_cores()) as pool:
        for number, (path, tile) in enumerate(zip(paths, pool.prepare(paths), strict=True)):
            if isinstance(tile, ImageError):
                tiles.rejected.append(str(tile))
            elif min(tile.width, tile.height) < config.recipe.crop_px:
                tiles.rejected.append(
                    f"{tile.name}: {tile.width} × {tile.height} px, smaller than the crop of "
                    f"{config.recipe.crop_px} px; pass a smaller --crop"
                )
            else:
                tiles.paths.append(path)
                tiles.contents.add(tile.sha256)
                if number % every == 0:
                    tiles.probes.append(tile.pixels)
    for reason in tiles.rejected:
        _log.warning("%s", reason)
    if not tiles.paths:
        first = f"; the first: {tiles.rejected[0]}" if tiles.rejected else ""
        raise InputError(f"none of {counted(len(paths), 'tile')} can be used{first}")
    if len(tiles.contents) == 1 and len(tiles.paths) > 1:
        raise InputError(
            f"all {len(tiles.paths)} tiles are the same image, so there is nothing to learn; "
            "check the folder"
        )
    return tiles
