"""A teacher's features become targets, and tiles without them stay without."""

import numpy as np
import pytest

from histo_index.arrays import Float32
from histo_index.encoder.config import PROJECTION_SIZE
from histo_index.encoder.training.distillation.teacher import Teacher


def normal(shape: tuple[int, int], seed: int = 0) -> Float32:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def teacher(**columns: Float32) -> Teacher:
    return Teacher(name="features.parquet", columns=columns)


def test_targets_are_unit_vectors_and_nan_where_the_teacher_has_none() -> None:
    features = normal((300, 8))
    features[7] = np.nan
    targets = teacher(one=features).targets().numpy()
    assert targets.shape == (300, PROJECTION_SIZE)
    assert np.isnan(targets[7]).all()
    known = np.delete(targets, 7, axis=0)
    np.testing.assert_allclose(np.linalg.norm(known, axis=1), 1, atol=1e-5)
    assert np.all(known[:, 8:] == 0)


def test_directions_that_vary_much_do_not_outweigh_others() -> None:
    # The first of four directions varies three times as much as the others.
    features = normal((4_000, 4)) * np.array([3, 1, 1, 1], np.float32)
    targets = teacher(one=features).targets().numpy()[:, :4]
    spreads = targets.std(axis=0)
    assert 0.4 < spreads.min() < spreads.max() < 0.65  # a third of it otherwise


def test_every_column_counts_alike_whatever_its_scale() -> None:
    first, second = normal((500, 6)), normal((500, 6), seed=1)
    alike = teacher(a=first, b=second).targets()
    scaled = teacher(a=first, b=1_000 * second).targets()
    np.testing.assert_allclose(alike @ alike.T, scaled @ scaled.T, atol=1e-4)


def test_the_features_of_some_tiles_keep_their_order() -> None:
    features = normal((5, 3))
    taken = teacher(one=features).take([4, 0])
    np.testing.assert_array_equal(taken.columns["one"], features[[4, 0]])
    assert taken.digest() != teacher(one=features[[0, 4]]).digest()


@pytest.mark.parametrize(("missing", "known"), [([], 5), ([0, 3], 3)])
def test_tiles_with_features_are_counted(missing: list[int], known: int) -> None:
    features = normal((5, 3))
    features[missing] = np.nan
    assert teacher(one=features).known == known
