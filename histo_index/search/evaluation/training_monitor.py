"""How well distances tell classes apart, from embeddings in memory: for watching a training run."""

import contextlib
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from histo_index.arrays import Float32
from histo_index.errors import InputError
from histo_index.indexer.format.records import DIFFUSED, PLAIN, THRESHOLDS
from histo_index.indexer.transform.diffusion import fit_diffusion
from histo_index.indexer.transform.transform import FEWEST_TILES
from histo_index.search.calibration.fit import fit_threshold
from histo_index.search.calibration.objectives import Objective
from histo_index.search.distance import pair_distances
from histo_index.search.inputs.sample import Sample
from histo_index.search.retrieval_metrics import rank_others

PAIR_AUC: Final = "pair_auc"
NEIGHBOUR_ACCURACY: Final = "neighbour_accuracy"
# As many same as different pairs: a threshold for nobody in particular.
_PRIOR: Final = 0.5
# Beyond it the pairs are a sample: so many tell an area to within 0.005.
_MOST_PAIRS: Final = 20_000


class TileMetrics:
    """Judges by classes: all pairs across groups, and each tile's nearest neighbour across groups.

    Raises:
        InputError: no two tiles of one class, or none of different ones, lie in different groups.
    """

    def __init__(self, labels: Sequence[str], groups: Sequence[str]) -> None:
        """Take the class and the group of each tile, [N]."""
        self._labels = np.unique(list(labels), return_inverse=True)[1]
        self._groups = np.unique(list(groups), return_inverse=True)[1]
        left, right = np.triu_indices(len(labels), 1)
        across = np.flatnonzero(self._groups[left] != self._groups[right])
        if len(across) > _MOST_PAIRS:
            across = np.random.default_rng(0).choice(across, _MOST_PAIRS, replace=False)
        left, right = left[across], right[across]
        self._pairs = PairMetrics(left, right, self._labels[left] == self._labels[right])

    def __call__(self, embeddings: Float32) -> dict[str, float]:
        """Judge float32 [N, D], rows of length 1."""
        every = np.arange(len(embeddings))
        nearest = rank_others(embeddings, self._groups, every, k=1).neighbours[:, 0]
        right = self._labels[nearest] == self._labels
        return {**self._pairs(embeddings), NEIGHBOUR_ACCURACY: float(right.mean())}


class PairMetrics:
    """Judges by pairs that are known to be same or different.

    Raises:
        InputError: all pairs are the same, or all different.
    """

    def __init__(
        self,
        left: npt.NDArray[np.int64],
        right: npt.NDArray[np.int64],
        is_same: npt.NDArray[np.bool_],
    ) -> None:
        """Take the rows of each pair's images, [P] each, and whether they are of one class."""
        if is_same.all() or not is_same.any():
            what = "same" if len(is_same) and is_same.all() else "different"
            raise InputError(
                f"the monitor's pairs across groups are all {what}; it takes tiles of two classes "
                "at least, each in two groups"
            )
        self._left, self._right, self._is_same = left, right, is_same

    def __call__(self, embeddings: Float32) -> dict[str, float]:
        """Judge float32 [N, D], rows of length 1; a `threshold` is the best cut of these pairs."""
        figures = self._judge(embeddings, PAIR_AUC, THRESHOLDS[PLAIN])
        if len(embeddings) >= FEWEST_TILES:
            # As an index of them would; one of fewer tiles is plain.
            vectors = fit_diffusion(embeddings).apply(embeddings)
            figures |= self._judge(vectors, f"{DIFFUSED}_{PAIR_AUC}", THRESHOLDS[DIFFUSED])
        return figures

    def _judge(self, vectors: Float32, area: str, threshold: str) -> dict[str, float]:
        distances = pair_distances(vectors[self._left], vectors[self._right])
        sample = Sample(
            distances=distances.astype(np.float64),
            is_same=self._is_same,
            units_a=self._left,
            units_b=self._right,
            prior=_PRIOR,
        )
        figures = {area: float(roc_auc_score(self._is_same, -distances))}
        with contextlib.suppress(InputError):  # early on, same pairs may lie no nearer than others
            figures[threshold] = fit_threshold(sample, Objective())
        return figures
