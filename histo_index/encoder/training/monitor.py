"""Monitor a run: measure every epoch, write the figures as a log and as a plot."""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch

from histo_index.arrays import Float32, Pixels
from histo_index.encoder.runtime.reference import Trunk
from histo_index.encoder.training.checkpoint import Stopwatch
from histo_index.files import publish_bytes

LOG_NAME: Final = "train.jsonl"
PLOT_NAME: Final = "train.png"
# Figures of the machine, and thresholds: they say nothing about the quality of the network.
_NOT_PLOTTED: Final = (
    "training_seconds", "monitoring_seconds", "images_per_second", "waiting", "threshold",
    "diffused_threshold",
)  # fmt: skip
# Shares have one range whatever the run reached; 0.5 is chance for an AUC.
_RANGES: Final = {
    "pair_auc": (0.5, 1.0), "diffused_pair_auc": (0.5, 1.0), "neighbour_accuracy": (0.0, 1.0),
}  # fmt: skip
_BATCH: Final = 32
_PLOT_EVERY_S: Final = 60.0
_PLOT_COLUMNS: Final = 3
_ROW_INCHES: Final = 2.6


class Metrics(Protocol):
    """Metrics of the monitor's embeddings; the highest `pair_auc` marks the best epoch."""

    @property
    def pair_auc(self) -> float: ...
    def figures(self) -> Mapping[str, float]:
        """Return all metrics by name, for the log."""
        ...


class Thresholds(Protocol):
    """The threshold that fits the monitor's pairs best, for each kind of distance; None if none."""

    @property
    def threshold(self) -> float | None: ...
    @property
    def diffused_threshold(self) -> float | None: ...
    def figures(self) -> Mapping[str, float]:
        """Return the known thresholds by name, for the log."""
        ...


@dataclass(frozen=True, kw_only=True)
class Monitor:
    """A labelled set that measures a run and never changes its weights.

    Attributes:
        name: of its file, for the model card.
        images: uint8 RGB [S, S, 3] each, fitted as for inference.
        measure: computes metrics and thresholds from the embeddings of the images, float32 [N, D]
            of unit length; the encoder publishes the thresholds.
    """

    name: str
    images: Sequence[Pixels]
    measure: Callable[[Float32], tuple[Metrics, Thresholds]]


def embed(trunk: Trunk, images: Sequence[Pixels], *, device: torch.device) -> Float32:
    """Encode images as in inference; the mode of the trunk is restored.

    Args:
        trunk: in training or evaluation mode.
        images: uint8 RGB [S, S, 3] each, fitted.
        device: where the trunk is.

    Returns:
        float32 [N, D], rows of unit length; NaN where all features are 0.
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
    """Compute the effective rank of embeddings: 1 if they lie on a line.

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
    """Compute how much projections differ between tiles.

    Args:
        projections: float [B, size].

    Returns:
        The mean standard deviation of the entries of the unit vectors, times √size: 1 if they are
        uniform on the sphere, 0 if all are equal (collapse).

    Source: Chen & He (2021), Exploring simple siamese representation learning, section 4.1.
    """
    unit = torch.nn.functional.normalize(projections.detach().float(), dim=1)
    return float(unit.std(dim=0).mean() * unit.shape[1] ** 0.5)


def write_log(folder: Path, epochs: Sequence[Mapping[str, Any]]) -> None:
    """Write one line per epoch to `train.jsonl`, atomically."""
    text = "".join(json.dumps(epoch) + "\n" for epoch in epochs)
    publish_bytes(folder / LOG_NAME, text.encode())


class Plot:
    """The figures of the network over the epochs, in `train.png`; see `draw_epochs`."""

    def __init__(self, folder: Path, stopwatch: Stopwatch) -> None:
        """Draw nothing yet.

        Args:
            folder: of the run.
            stopwatch: of the run.
        """
        self._path, self._stopwatch = folder / PLOT_NAME, stopwatch
        self._drawn_at = stopwatch.seconds

    def draw_if_due(self, epochs: Sequence[Mapping[str, Any]]) -> None:
        """Draw unless it was drawn within a minute, or the run began within it.

        Matplotlib takes half a second, longer than an epoch of a very small run.
        """
        if self._stopwatch.seconds - self._drawn_at >= _PLOT_EVERY_S:
            self.draw(epochs)

    def draw(self, epochs: Sequence[Mapping[str, Any]]) -> None:
        """Draw, atomically."""
        picture = io.BytesIO()
        draw_epochs(epochs).savefig(picture, format="png", dpi=100)
        publish_bytes(self._path, picture.getvalue())
        self._drawn_at = self._stopwatch.seconds


def draw_epochs(epochs: Sequence[Mapping[str, Any]]) -> Any:
    """Draw a figure of matplotlib: axes start at 0, those of shares have a fixed range."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    names = [
        name
        for name, value in epochs[-1].items()
        if isinstance(value, float) and name not in _NOT_PLOTTED
    ]
    rows = -(-len(names) // _PLOT_COLUMNS)
    figure = Figure(figsize=(4 * _PLOT_COLUMNS, _ROW_INCHES * rows))
    # Fixed margins: matplotlib takes as long to fit them as to draw all the rest.
    margin = 0.5 / (_ROW_INCHES * rows)
    figure.subplots_adjust(0.05, margin, 0.98, 1 - 0.6 * margin, hspace=0.5, wspace=0.25)
    numbers = [epoch["epoch"] for epoch in epochs]
    for position, name in enumerate(names, start=1):
        axes = figure.add_subplot(rows, _PLOT_COLUMNS, position)
        values = [float(epoch.get(name, "nan")) for epoch in epochs]
        axes.plot(numbers, values, marker=".", color="#7b2d8e")
        low, high = _RANGES.get(name, (min(0.0, *values), None))
        axes.set_ylim(min(low, *values), high)
        axes.set_title(name.replace("_", " "), fontsize=10)
        axes.set_xlabel("epoch", fontsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    return figure
