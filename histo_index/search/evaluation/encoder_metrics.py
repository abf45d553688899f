"""Metrics of one encoder on labelled tiles, to compare it with others."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from histo_index.indexer.reader import OpenIndex
from histo_index.search import pair_metrics
from histo_index.search.bootstrap import Estimate
from histo_index.search.calibration.cross_validation import cross_validate
from histo_index.search.calibration.objectives import Objective
from histo_index.search.evaluation.compare import compute_metrics, estimates
from histo_index.search.inputs.labelled_pairs import LabelledPairs
from histo_index.search.tabular import Tabular

_UNKNOWN = Estimate(value=None, low=None, high=None)


@dataclass(frozen=True, kw_only=True)
class ComparedEncoder:
    """An encoder and its metrics.

    Attributes:
        name: of its folder.
        architecture: the network.
        licence: of the weights, if known.
        fingerprint: of the encoder.
        embedding_size: D.
        roc_auc: of the pairs.
        balanced_accuracy: of the pairs, at thresholds fitted on other groups.
        nearest: share of tiles whose nearest tile of another group is of their class.
        images_per_second: of the build on this machine, all included.
        bytes_per_tile: of the index on disk, without the encoder.
    """

    name: str
    architecture: str
    licence: str | None
    fingerprint: str
    embedding_size: int
    roc_auc: Estimate
    balanced_accuracy: Estimate
    nearest: Estimate
    images_per_second: float
    bytes_per_tile: int


@dataclass(frozen=True, kw_only=True)
class EncoderComparison(Tabular):
    """Encoders on the same labelled tiles.

    Attributes:
        encoders: in the order they were given.
        tiles: number of labelled tiles.
        groups: number of their groups; None without groups, when intervals are too narrow.
        pairs: number of pairs.
        labels: where the classes come from.
        distance: what is compared: `diffused` or `plain`.
    """

    encoders: list[ComparedEncoder]
    tiles: int
    groups: int | None
    pairs: int
    labels: str
    distance: str

    @property
    def table(self) -> pa.Table:
        """A row per encoder."""
        return pa.Table.from_pylist([asdict(encoder) for encoder in self.encoders])

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def measure_pairs(index: OpenIndex, dataset: LabelledPairs) -> dict[str, Estimate]:
    """Compute `roc_auc`, `balanced_accuracy` and `nearest` with intervals that resample groups."""
    metrics = compute_metrics(index.vectors(dataset.rows), dataset)
    called, is_judged = cross_validate(
        dataset.sample(metrics.distances.astype(np.float64)), Objective(name="balanced-accuracy")
    )
    units = dataset.groups[dataset.left], dataset.groups[dataset.right]
    (balanced,) = estimates(
        lambda weights: np.array(
            [pair_metrics.balanced_accuracy(called, dataset.is_same, weights * is_judged)]
        ),
        *units,
    )
    return {
        "roc_auc": metrics.pairs.get("roc_auc", _UNKNOWN),
        "balanced_accuracy": balanced,
        "nearest": metrics.retrieval.get("micro", {}).get("accuracy@1", _UNKNOWN),
    }
