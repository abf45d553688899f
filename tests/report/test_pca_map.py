"""The map of an index: the plane of its two principal components."""

import numpy as np
import pytest

from histo_index.report.pca_map import map_index
from tests.report.conftest import Judged


def test_the_plane_keeps_the_two_largest_variances(judged: Judged) -> None:
    made = map_index(judged.index, judged.found.dataset)
    vectors = judged.index.vectors(np.arange(len(judged.index))).astype(np.float64)
    centred = vectors - vectors.mean(axis=0)
    variances = np.linalg.svd(centred, compute_uv=False) ** 2
    assert made.explained == pytest.approx(variances[:2].sum() / variances.sum(), rel=1e-4)
    spread = (made.points**2).sum(axis=0)
    assert spread == pytest.approx(variances[:2], rel=1e-3)
    assert made.labels.tolist() == judged.found.dataset.labels.tolist()
    assert made.groups.tolist() == judged.found.dataset.groups.tolist()


def test_of_many_tiles_some_are_drawn_and_those_unknown_are_told_apart(judged: Judged) -> None:
    part = judged.found.dataset.subset(np.arange(0, 60, 2))
    made = map_index(judged.index, part, max_points=20)
    assert len(made.points) == 20
    assert (made.labels >= 0).sum() == 10
    assert made.tiles == 96
    few = map_index(judged.index, judged.found.dataset.subset(np.arange(4)), max_points=20)
    assert len(few.points) == 20
    assert (few.labels >= 0).sum() == 4
