"""A calibration is fitted, stored whole or not at all, and refused where it does not belong."""

import os
from dataclasses import replace

import numpy as np
import pytest

from histo_index.errors import IndexFormatError, InputError, LockedError, MismatchError
from histo_index.indexer.format.lock import writer_lock
from histo_index.indexer.format.manifest import CALIBRATION_NAME
from histo_index.indexer.format.signed_json import seal
from histo_index.search.calibration.calibrate import calibrate, tile_contents
from histo_index.search.calibration.calibration import (
    Calibration,
    read_calibration,
    store_calibration,
)
from histo_index.search.calibration.checks import require_enough
from histo_index.search.calibration.objectives import Objective
from histo_index.search.calibration.threshold import Threshold
from histo_index.search.distance import pair_distances
from histo_index.search.inputs.labelled_pairs import LabelledPairs, make_labelled_pairs
from histo_index.search.inputs.labels import read_labels
from histo_index.search.neighbours.novelty import are_far
from tests.search.classes import Classes


def dataset_of(classes: Classes) -> LabelledPairs:
    return make_labelled_pairs(classes.index, read_labels(classes.index, group="patient"), None)


def test_calibration_records_its_pairs_and_groups(
    classes: Classes, calibration: Calibration
) -> None:
    assert calibration.fingerprint == classes.index.manifest.fingerprint
    assert (calibration.pairs, calibration.same, calibration.prior) == (2688, 1344, 0.5)
    assert (calibration.tiles, calibration.units, calibration.unit) == (96, 8, "group")
    assert calibration.origin == (
        "calibrated for accuracy on 2,688 pairs of 96 tiles of 8 groups: drawn from column label "
        "of the index, across groups, half of them same"
    )
    assert calibration.contents is not None
    digests = classes.index.rows["sha256"].to_pylist()
    assert calibration.contents == [digest[:16] for digest in digests]


def test_its_histogram_counts_every_pair(classes: Classes, calibration: Calibration) -> None:
    dataset = dataset_of(classes)
    stored = classes.index.vectors(dataset.rows)
    distances = pair_distances(stored[dataset.left], stored[dataset.right])
    assert calibration.histogram is not None
    expected, _ = np.histogram(distances[dataset.is_same], calibration.histogram.edges)
    assert calibration.histogram.same == expected.tolist()
    assert sum(calibration.histogram.same) == sum(calibration.histogram.different) == 1344


def test_stored_threshold_separates_the_classes(calibration: Calibration) -> None:
    accuracy, threshold = calibration.accuracy, calibration.threshold
    assert accuracy.value is not None
    assert accuracy.low is not None
    assert accuracy.value > accuracy.low > 0.8
    assert threshold.low is not None
    assert threshold.high is not None
    assert threshold.value is not None
    assert 0 < threshold.low < threshold.value < threshold.high < 4


def test_stored_and_read_it_is_the_same(classes: Classes, calibration: Calibration) -> None:
    assert read_calibration(classes.index.folder, calibration.fingerprint) is None
    store_calibration(classes.index.folder, calibration)
    found = read_calibration(classes.index.folder, calibration.fingerprint)
    assert found is not None
    assert found.as_dict() == calibration.as_dict()


def test_one_of_another_encoder_is_refused_with_both_fingerprints(
    classes: Classes, calibration: Calibration
) -> None:
    folder = classes.index.folder
    store_calibration(folder, calibration)
    with pytest.raises(MismatchError) as caught:
        read_calibration(folder, "0" * 32)
    assert str(caught.value) == (
        f"{folder / 'calibration.json'}: stale: fitted to encoder {'f' * 32} but this index was "
        f"built by {'0' * 32}; run `histo-index calibrate` again, or `histo-index calibrate "
        "--clear`"
    )
    with pytest.raises(MismatchError, match="was rebuilt by encoder"):
        store_calibration(folder, replace(calibration, fingerprint="0" * 32))


def test_one_of_another_distance_is_refused(classes: Classes, calibration: Calibration) -> None:
    folder = classes.index.folder
    store_calibration(folder, calibration)
    with pytest.raises(MismatchError) as caught:
        read_calibration(folder, calibration.fingerprint, "diffused 0123")
    assert str(caught.value) == (
        f"{folder / 'calibration.json'}: stale: fitted to distances plain but this index compares "
        "by diffused 0123; run `histo-index calibrate` again, or `histo-index calibrate --clear`"
    )
    with pytest.raises(MismatchError, match="was rebuilt by distance plain while"):
        store_calibration(folder, replace(calibration, distance="diffused 0123"))


def test_calibration_that_answers_nothing_surely_is_reported(
    classes: Classes, calibration: Calibration
) -> None:
    dataset = dataset_of(classes)
    mixed = np.random.default_rng(0).random(len(dataset.is_same)) < 0.45
    vague = replace(dataset, is_same=dataset.is_same ^ mixed, groups=dataset.groups % 4)
    line = 'with --unsure every one of these pairs would be "unsure"; label more pairs'
    assert line in calibrate(classes.index, vague, Objective()).warnings
    assert line not in calibration.warnings


def test_stored_calibration_names_no_private_group(classes: Classes) -> None:
    dataset = dataset_of(classes)
    is_first = (dataset.groups[dataset.left] == 0) | (dataset.groups[dataset.right] == 0)
    others = np.flatnonzero(~is_first)[: is_first.sum() // 2]
    kept = np.sort(np.concatenate([np.flatnonzero(is_first), others]))
    busy = replace(
        dataset, left=dataset.left[kept], right=dataset.right[kept], is_same=dataset.is_same[kept]
    )
    classes.index.shows_private = True
    warnings = calibrate(classes.index, busy, Objective()).warnings
    (line,) = [line for line in warnings if "share" in line]
    assert line.endswith("pairs share group 1")


@pytest.mark.parametrize("offset", [0, 100, -3])
def test_a_damaged_one_is_refused(classes: Classes, calibration: Calibration, offset: int) -> None:
    store_calibration(classes.index.folder, calibration)
    path = classes.index.folder / "calibration.json"
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)
    with pytest.raises(IndexFormatError, match=r"calibration\.json: damaged"):
        read_calibration(classes.index.folder, calibration.fingerprint)


def test_one_that_lacks_a_field_is_refused_in_one_line(
    classes: Classes, calibration: Calibration
) -> None:
    values = calibration.as_dict()
    del values["scale"]
    path = classes.index.folder / "calibration.json"
    path.write_bytes(seal("histo-index calibration", values, version=1))
    with pytest.raises(IndexFormatError, match=r"json: written by another version of histo-index"):
        read_calibration(classes.index.folder, calibration.fingerprint)


def test_a_newer_one_is_refused_by_its_version(classes: Classes, calibration: Calibration) -> None:
    path = classes.index.folder / "calibration.json"
    path.write_bytes(seal("histo-index calibration", calibration.as_dict(), version=2))
    with pytest.raises(IndexFormatError, match="has index format 2, this release reads up to 1"):
        read_calibration(classes.index.folder, calibration.fingerprint)


def test_a_full_disk_leaves_the_old_one(
    classes: Classes, calibration: Calibration, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = classes.index.folder
    store_calibration(folder, calibration)
    before = (folder / "calibration.json").read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        store_calibration(folder, replace(calibration, prior=0.3))
    assert (folder / "calibration.json").read_bytes() == before
    assert sorted(path.name for path in folder.glob(".tmp-*")) == []


def test_reader_does_not_wait_for_a_writer(classes: Classes, calibration: Calibration) -> None:
    with writer_lock(classes.index.folder), pytest.raises(LockedError):
        store_calibration(classes.index.folder, calibration)


def test_only_images_outside_the_index_can_be_far(
    classes: Classes, calibration: Calibration
) -> None:
    index = classes.index
    threshold = Threshold.choose(None, None, calibration, unsure=True)
    near = index.vectors(np.array([5]))
    opposite = (-near.astype(np.float32)).astype(np.float16)
    assert are_far(index, np.concatenate([near, opposite]), threshold.far_distance).tolist() == [
        False,
        True,
    ]
    asked_for_answers = Threshold.choose(None, None, calibration, unsure=False)
    assert are_far(index, opposite, asked_for_answers.far_distance).tolist() == [False]
    assert are_far(index, opposite[:0], threshold.far_distance).tolist() == []


def test_hardly_any_tile_is_far_from_other_groups(
    classes: Classes, calibration: Calibration
) -> None:
    stored = classes.index.vectors(np.arange(96)).astype(np.float64)
    distances = ((stored[:, None] - stored[None]) ** 2).sum(axis=2)
    groups = np.array(classes.groups)
    distances[groups[:, None] == groups[None]] = np.inf
    expected = np.quantile(distances.min(axis=1), 0.99)
    assert calibration.far_distance == pytest.approx(expected, abs=1e-3)


def test_by_path_every_tile_is_a_group(classes: Classes) -> None:
    dataset = make_labelled_pairs(
        classes.index, read_labels(classes.index, group="path"), None, group="path"
    )
    assert len(dataset.group_names) == len(classes.names)
    require_enough(dataset)


def test_contents_of_too_many_tiles_are_not_stored(classes: Classes) -> None:
    digests = classes.index.rows["sha256"].to_pylist()
    found = tile_contents(classes.index, np.arange(95), max_tiles=95)
    assert found == [digest[:16] for digest in digests[:95]]
    assert tile_contents(classes.index, np.arange(96), max_tiles=95) is None


def test_inverted_labels_store_no_calibration(classes: Classes) -> None:
    dataset = dataset_of(classes)
    with pytest.raises(InputError, match=r"^drawn from column label .*: same pairs are not nearer"):
        calibrate(classes.index, replace(dataset, is_same=~dataset.is_same), Objective())
    assert not (classes.index.folder / CALIBRATION_NAME).exists()
