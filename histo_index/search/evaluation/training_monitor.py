"""Metrics of embeddings in memory, for monitoring a training run."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from histo_index.arrays import Float32
from histo_index.errors import InputError
from histo_index.indexer.transform.diffusion import fit_diffusion
from histo_index.indexer.transform.transform import FEWEST_TILES
from histo_index.search.calibration.fit import fit_threshold
from histo_index.search.calibration.objectives import Objective
from histo_index.search.distance import pair_distances
from histo_index.search.inputs.sample import Sample
from histo_index.search.retrieval_metrics import rank_others

# As many same as different pairs.
_PRIOR: Final = 0.5
# Larger sets of pairs are sampled; this many give the ROC-AUC to within 0.005.
_MAX_PAIRS: Final = 20_000


@dataclass(frozen=True, kw_only=True)
class MonitorMetrics:
    """Metrics of one set of embeddings.

    Attributes:
        pair_auc: ROC-AUC of the pairs, plain distances.
        diffused_pair_auc: the same, diffused distances; None for too few tiles to fit them.
        neighbour_accuracy: share of tiles whose nearest tile of another group is of their class;
            None without classes.
    """

    pair_auc: float
    diffused_pair_auc: float | None = None
    neighbour_accuracy: float | None = None

    def figures(self) -> Mapping[str, float]:
        """Return the known metrics by name."""
        return _known(self)


@dataclass(frozen=True, kw_only=True)
class MonitorThresholds:
    """The most accurate threshold of the pairs, 0 to 4; None if no threshold separates them.

    Attributes:
        threshold: for plain distances.
        diffused_threshold: for diffused distances.
    """

    threshold: float | None = None
    diffused_threshold: float | None = None

    def figures(self) -> Mapping[str, float]:
        """Return the known thresholds by name."""
        return _known(self)


def _known(record: MonitorMetrics | MonitorThresholds) -> Mapping[str, float]:
    return {name: value for name, value in asdict(record).items() if value is not None}


class TileMetrics:
    """Metrics by class: all pairs across groups, and the nearest neighbour across groups.

    Raises:
        InputError: no two tiles of one class, or none of different ones, lie in different groups.
    """

    def __init__(self, labels: Sequence[str], groups: Sequence[str]) -> None:
        """Set the class and the group of each tile, [N]."""
        self._labels = np.unique(list(labels), return_inverse=True)[1]
        self._groups = np.unique(list(groups), return_inverse=True)[1]
        left, right = np.triu_indices(len(labels), 1)
        across = np.flatnonzero(self._groups[left] != self._groups[right])
        if len(across) > _MAX_PAIRS:
            across = np.random.default_rng(0).choice(across, _MAX_PAIRS, replace=False)
        left, right = left[across], right[across]
        self._pairs = PairMetrics(left, right, self._labels[left] == self._labels[right])

    def __call__(self, embeddings: Float32) -> tuple[MonitorMetrics, MonitorThresholds]:
        """Compute metrics and thresholds of float32 [N, D], rows of unit length."""
        metrics, thresholds = self._pairs(embeddings)
        rows = np.arange(len(embeddings))
        nearest = rank_others(embeddings, self._groups, rows, k=1).neighbours[:, 0]
        is_right = self._labels[nearest] == self._labels
        return replace(metrics, neighbour_accuracy=float(is_right.mean())), thresholds


class PairMetrics:
    """Metrics by labelled pairs.

    Raises:
        InputError: all pairs are the same, or all different.
    """

    def __init__(
        self,
        left: npt.NDArray[np.int64],
        right: npt.NDArray[np.int64],
        is_same: npt.NDArray[np.bool_],
    ) -> None:
        """Set the rows of the images of each pair, [P] each, and whether they are of one class."""
        if is_same.all() or not is_same.any():
            what = "same" if len(is_same) and is_same.all() else "different"
            raise InputError(
                f"the monitor's pairs across groups are all {what}; expected tiles of at least two "
                "classes, each in two groups; label more tiles"
            )
        self._left, self._right, self._is_same = left, right, is_same

    def __call__(self, embeddings: Float32) -> tuple[MonitorMetrics, MonitorThresholds]:
        """Compute metrics and thresholds of float32 [N, D], rows of unit length."""
        auc, threshold = self._separate(embeddings)
        metrics, thresholds = MonitorMetrics(pair_auc=auc), MonitorThresholds(threshold=threshold)
        if len(embeddings) < FEWEST_TILES:  # an index of so few tiles has plain distances
            return metrics, thresholds
        auc, threshold = self._separate(fit_diffusion(embeddings).apply(embeddings))
        return (
            replace(metrics, diffused_pair_auc=auc),
            replace(thresholds, diffused_threshold=threshold),
        )

    def _separate(self, vectors: Float32) -> tuple[float, float | None]:
        """Return the ROC-AUC of the pairs and their most accurate threshold."""
        distances = pair_distances(vectors[self._left], vectors[self._right])
        auc = float(roc_auc_score(self._is_same, -distances))
        sample = Sample(
            distances=distances.astype(np.float64),
            is_same=self._is_same,
            units_a=self._left,
            units_b=self._right,
            prior=_PRIOR,
        )
        try:
            return auc, fit_threshold(sample, Objective())
        except InputError:  # same pairs are no nearer than different ones, as early in a run
            return auc, None
