"""A threshold without labels lies between near and far pairs, and is marked as weaker."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.cluster import KMeans

from histo_index.errors import InputError
from histo_index.indexer.reader import OpenIndex
from histo_index.indexer.writing.commit import reindex
from histo_index.search.calibration.calibration import read_calibration, store_calibration
from histo_index.search.calibration.otsu import _valley, guess
from histo_index.search.calibration.threshold import Threshold
from tests.search.classes import Classes
from tests.vectors import build_numbered, unit_vectors


def test_threshold_separates_distant_classes(classes: Classes) -> None:
    found = guess(classes.index, group="patient")
    threshold = found.threshold
    assert threshold.value is not None
    stored = classes.index.vectors(np.arange(96)).astype(np.float64)
    distances = ((stored[:, None] - stored[None]) ** 2).sum(axis=2)
    labels, groups = np.array(classes.labels), np.array(classes.groups)
    is_same = labels[:, None] == labels[None]
    is_across = groups[:, None] != groups[None]
    said = distances <= threshold.value
    rates = [(said == is_same)[is_across & kind].mean() for kind in (is_same, ~is_same)]
    assert np.mean(rates) > 0.9
    assert threshold.low is not None
    assert threshold.high is not None
    assert 0 < threshold.low < threshold.value < threshold.high < 4


def test_the_valley_lies_between_two_heaps() -> None:
    generator = np.random.default_rng(0)
    heaps = np.sort(
        np.concatenate([generator.normal(-3, 0.3, 900), generator.normal(0, 0.3, 2000)])
    )
    centers = KMeans(2, n_init=1, random_state=0).fit(heaps[:, None]).cluster_centers_
    assert _valley(heaps, np.ones(2900)) == pytest.approx(centers.mean())
    # A pair that counts twice is as two pairs.
    weights = np.where(np.arange(2900) % 3, 1.0, 2.0)
    twice = np.sort(np.concatenate([heaps, heaps[weights == 2]]))
    assert _valley(heaps, weights) == pytest.approx(_valley(twice, np.ones(len(twice))))
    assert np.isnan(_valley(np.zeros(9), np.ones(9)))


def test_threshold_without_labels_is_marked_weaker_and_has_no_probability(classes: Classes) -> None:
    store_calibration(classes.index.folder, guess(classes.index, group="patient"))
    found = read_calibration(classes.index.folder, classes.index.manifest.fingerprint)
    assert found is not None
    assert found.origin.startswith("estimated without labels (less reliable) from 5,2")
    assert found.origin.endswith("random pairs across groups")
    assert (found.is_unlabelled, found.curve, found.accuracy.value) == (True, None, None)
    assert (found.tiles, found.units, found.same) == (96, 8, 0)
    threshold = Threshold.choose(None, None, replace(found, answers_unsure=True))
    distances = np.array([0.0, 4.0], np.float32)
    assert threshold.likelihoods(distances) is None
    assert threshold.verdicts(distances).to_pylist() == ["same", "different"]
    far = np.array([True, False])
    assert threshold.verdicts(distances, far).to_pylist() == ["unsure", "different"]


def test_too_few_tiles_or_groups_are_refused(classes: Classes, tmp_path: Path) -> None:
    names = [f"{tile}.png" for tile in range(12)]
    folder, _ = build_numbered(tmp_path / "few", unit_vectors(12, 8), names)
    with pytest.raises(InputError, match="12 tiles of 12 groups; expected at least 20 tiles"):
        guess(OpenIndex(folder))
    with pytest.raises(InputError, match="no column ward"):
        guess(classes.index, group="ward")


@pytest.mark.parametrize("distance", ["plain", "diffused"])
def test_plain_distances_are_parted_by_their_logarithms_others_as_they_are(
    distance: str, tmp_path: Path
) -> None:
    # Five clusters; their tiles are close, so that plain distances differ by orders of magnitude.
    clusters = np.repeat(unit_vectors(5, 16), 24, axis=0)
    vectors = clusters + np.random.default_rng(1).normal(size=(120, 16)) * 0.05
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    names = [f"{tile}.png" for tile in range(120)]
    folder, _ = build_numbered(tmp_path / "clusters", vectors.astype(np.float16), names)
    reindex(folder, distance=distance)
    index = OpenIndex(folder)
    stored = index.vectors(np.arange(120)).astype(np.float64)
    found = ((stored[:, None] - stored[None]) ** 2).sum(axis=2)[np.triu_indices(120, 1)]
    values = np.log(found) if distance == "plain" else found
    centers = KMeans(2, n_init=1, random_state=0).fit(values[:, None]).cluster_centers_
    expected = np.exp(centers.mean()) if distance == "plain" else centers.mean()
    assert guess(index).threshold.value == pytest.approx(expected, rel=0.05)
