"""An evaluation compares an index with baselines and finds tiles in two groups or splits."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, roc_auc_score

import histo_index
from histo_index.arrays import Int64
from histo_index.commands.output import to_json
from histo_index.indexer.embeddings import read_embeddings
from histo_index.indexer.reader import OpenIndex
from histo_index.search.bootstrap import Estimate
from histo_index.search.calibration.calibration import Calibration
from histo_index.search.calibration.threshold import Threshold
from histo_index.search.distance import pair_distances
from histo_index.search.evaluation.baselines import headline
from histo_index.search.evaluation.evaluate import evaluate
from histo_index.search.evaluation.examples import wrong_pairs_of
from histo_index.search.evaluation.leakage import Leakage, find_leakage
from histo_index.search.evaluation.result import Contender, Evaluation
from histo_index.search.inputs.labelled_pairs import LabelledPairs, make_labelled_pairs
from histo_index.search.inputs.labels import read_labels
from tests.search.classes import TILES, Classes, class_vectors
from tests.search.copies.pictures import numbered_pictures
from tests.vectors import build_numbered, unit_vectors


def dataset_of(classes: Classes) -> LabelledPairs:
    return make_labelled_pairs(classes.index, read_labels(classes.index, group="patient"), None)


def weak_baselines(rows: Int64) -> Mapping[str, npt.NDArray[np.float32]]:
    """A baseline that knows the classes a little, and one that knows nothing."""
    return {
        "colour histogram": class_vectors(2.0, seed=5)[0][rows],
        "random weights": unit_vectors(TILES, 16, seed=7)[rows],
    }


@pytest.fixture(scope="module")
def found(finished_classes: Path, calibration: Calibration) -> Evaluation:
    index = OpenIndex(finished_classes / "tiles.hx")
    dataset = make_labelled_pairs(index, read_labels(index, group="patient"), None)
    threshold = Threshold.choose(None, None, calibration)
    return evaluate(index, dataset, threshold, baselines=weak_baselines(dataset.rows))


def test_figures_are_those_of_scikit_learn(classes: Classes, found: Evaluation) -> None:
    dataset = found.dataset
    stored = classes.index.vectors(dataset.rows)
    distances = pair_distances(stored[dataset.left], stored[dataset.right])
    assert found.distances.tolist() == distances.tolist()
    figures = found.index.pairs
    assert figures["roc_auc"].value == pytest.approx(roc_auc_score(dataset.is_same, -distances))
    assert found.threshold.value is not None
    said = distances <= found.threshold.value
    assert figures["accuracy"].value == pytest.approx(accuracy_score(dataset.is_same, said))
    for figure in figures.values():
        assert figure.low is not None
        assert figure.high is not None
        assert figure.value is not None
        assert figure.low <= figure.value <= figure.high


def test_confusion_counts_nearest_neighbours_in_other_groups(
    classes: Classes, found: Evaluation
) -> None:
    exact = classes.index.vectors(np.arange(TILES)).astype(np.float64)
    distances = ((exact[:, None] - exact[None]) ** 2).sum(axis=2)
    groups = np.array(classes.groups)
    distances[groups[:, None] == groups[None]] = np.inf
    nearest = np.array(classes.labels)[distances.argmin(axis=1)]
    expected = confusion_matrix(classes.labels, nearest)
    assert found.confusion is not None
    assert found.confusion.tolist() == expected.tolist()
    hits = found.index.retrieval["micro"]["accuracy@1"].value
    assert hits == pytest.approx(expected.trace() / TILES)


def test_baselines_use_the_same_pairs(found: Evaluation) -> None:
    colour, random, majority = found.baselines
    assert [baseline.name for baseline in found.baselines] == [
        "colour histogram", "random weights", "majority"
    ]  # fmt: skip
    dataset = found.dataset
    for baseline, vectors in zip(
        (colour, random), weak_baselines(dataset.rows).values(), strict=True
    ):
        distances = pair_distances(vectors[dataset.left], vectors[dataset.right])
        expected = roc_auc_score(dataset.is_same, -distances)
        assert baseline.pairs["roc_auc"].value == pytest.approx(expected)
        mine = found.index.pairs["roc_auc"].value
        assert mine is not None
        assert baseline.lead["roc_auc"].value == pytest.approx(mine - expected)
    assert majority.pairs["accuracy"].value == 0.5
    assert majority.retrieval["micro"]["accuracy@1"].value == pytest.approx(1 / 3)


def test_first_line_is_positive_only_above_every_baseline(found: Evaluation) -> None:
    assert found.headline.startswith("The encoder beats every baseline here: pair ROC-AUC 0.9")
    mine = found.index.pairs["roc_auc"]
    assert mine.value is not None
    better = replace(
        found.baselines[0],
        pairs={"roc_auc": Estimate(value=0.999, low=0.99, high=1.0)},
        lead={"roc_auc": Estimate(value=mine.value - 0.999, low=-0.02, high=-0.001)},
    )
    line = headline(found.index, [better, *found.baselines[1:]], is_trained=True)
    assert line == (
        f"The encoder does not beat a colour histogram here: pair ROC-AUC {mine.value:.3f} against "
        f"0.999 (lead {mine.value - 0.999:+.3f}, 95 % interval -0.020…-0.001)"
    )
    close = replace(better, lead={"roc_auc": Estimate(value=0.01, low=-0.01, high=0.03)})
    line = headline(found.index, [close], is_trained=True)
    assert line.startswith("The encoder is not shown to beat a colour histogram here")


def test_without_baselines_nothing_is_positive(classes: Classes) -> None:
    found = evaluate(classes.index, dataset_of(classes), Threshold.choose(0.4, None))
    assert "was not compared with colour or random weights" in found.headline


def test_baselines_are_compared_on_a_subset(classes: Classes) -> None:
    dataset, threshold = dataset_of(classes), Threshold.choose(0.4, None)
    subset = dataset.subsample(40)
    vectors = unit_vectors(TILES, 16, seed=7)[subset.rows]
    found = evaluate(classes.index, dataset, threshold, subset=subset, baselines={"own": vectors})
    baseline, _ = found.baselines
    distances = pair_distances(vectors[subset.left], vectors[subset.right])
    area = roc_auc_score(subset.is_same, -distances)
    assert baseline.pairs["roc_auc"].value == pytest.approx(area)
    stored = classes.index.vectors(subset.rows)
    own = roc_auc_score(subset.is_same, -pair_distances(stored[subset.left], stored[subset.right]))
    assert baseline.lead["roc_auc"].value == pytest.approx(own - area)


def test_abstaining_leaves_fewer_errors(found: Evaluation) -> None:
    risk = found.risk_coverage
    assert found.threshold.value is not None
    is_wrong = (found.distances <= found.threshold.value) != found.dataset.is_same
    assert risk.coverage[-1] == 1.0
    assert risk.risk[-1] == pytest.approx(is_wrong.mean())
    half = len(risk.risk) // 2
    assert risk.risk[half] < risk.risk[-1]
    assert risk.answered is not None
    assert risk.risk_answered is not None
    assert risk.answered.value is not None
    assert risk.risk_answered.value is not None
    is_unsure = replace(found.threshold, answers_unsure=True).is_unsure(found.distances)
    assert 0 < risk.answered.value == pytest.approx(1 - is_unsure.mean())
    assert risk.risk_answered.value == pytest.approx(is_wrong[~is_unsure].mean())
    assert risk.risk_answered.value < risk.risk[-1]


def test_the_most_confidently_wrong_come_first(found: Evaluation) -> None:
    dataset, threshold = found.dataset, found.threshold.value
    assert threshold is not None
    assert found.wrong_pairs
    gaps = [abs(np.log(4 - wrong.distance) - np.log(4 - threshold)) for wrong in found.wrong_pairs]
    assert gaps == sorted(gaps, reverse=True)
    for wrong in found.wrong_pairs:
        assert (wrong.distance <= threshold) != wrong.is_same
        assert bool(dataset.is_same[wrong.pair]) == wrong.is_same
        assert (dataset.left[wrong.pair], dataset.right[wrong.pair]) == (wrong.tile_a, wrong.tile_b)


def test_no_tile_fills_the_list_of_wrong_pairs() -> None:
    left, right = np.array([0] * 9 + [1, 2, 3]), np.array([*range(1, 10), 2, 3, 4])
    distances = np.linspace(1.0, 2.0, 12, dtype=np.float32)
    dataset = LabelledPairs(
        rows=np.arange(10), names=[str(tile) for tile in range(10)], labels=np.arange(10),
        classes=[], groups=np.arange(10), group_names=[], left=left, right=right,
        is_same=np.ones(12, bool), labels_from=None, pairs_from="", has_groups=True, problems=[],
    )  # fmt: skip
    found = wrong_pairs_of(distances, None, dataset, Threshold.choose(0.5, None))
    # The furthest first; tile 0 twice, tile 2 twice, and what is left of the others.
    assert [wrong.pair for wrong in found] == [11, 10, 9, 8, 7]


def test_there_is_a_strip_of_every_class(found: Evaluation) -> None:
    dataset = found.dataset
    assert [strip.label for strip in found.strips] == dataset.classes
    for strip in found.strips:
        assert dataset.classes[dataset.labels[strip.query]] == strip.label
        assert dataset.groups[strip.query] not in dataset.groups[strip.neighbours]
        assert strip.distances == sorted(strip.distances)
        assert len(strip.neighbours) == 8


def test_tiles_of_the_calibration_are_found_and_reported(found: Evaluation) -> None:
    assert found.leakage.shared_tiles == TILES
    (line,) = [line for line in found.warnings if "calibration was fitted on" in line]
    assert line.startswith("96 of 96 tiles are, or nearly are, tiles that the calibration")


def test_without_a_threshold_one_is_fitted_for_the_pictures_only(classes: Classes) -> None:
    found = evaluate(classes.index, dataset_of(classes), Threshold.choose(None, None))
    assert found.index.pairs["accuracy"].value is None
    assert found.index.pairs["cross_validated_accuracy"].value is not None
    assert found.threshold.origin == "fitted on these pairs, for the charts only"
    assert found.threshold.value is not None
    assert (found.probabilities, found.reliability) == (None, None)
    assert any(line.startswith("no threshold: run") for line in found.warnings)


def test_it_is_plain_json_with_names_and_no_paths(classes: Classes, found: Evaluation) -> None:
    document: dict[str, Any] = json.loads(to_json(found.as_dict()))
    assert document["headline"] == found.headline
    assert document["wrong_pairs"][0]["tile_a"] in classes.names
    for contender in (document["figures"], *document["baselines"][:2]):
        assert len(contender["curve"]["hits"]) <= 200
        assert contender["curve"]["hits"][-1] == 1.0
    assert document["provenance"]["calibration"]["pairs"] == 2688
    assert document["figures"]["pairs"]["roc_auc"]["value"] == found.index.pairs["roc_auc"].value
    assert str(classes.index.folder.parent) not in json.dumps(document)


@pytest.fixture(scope="module")
def doubled(tmp_path_factory: pytest.TempPathFactory) -> OpenIndex:
    """Tiles 0, 1 and 9 of one content; 3 like 2, 5 and 6 like 4; searched by diffused distance."""
    vectors = unit_vectors(120, 64)
    for copy, of in ((3, 2), (5, 4), (6, 4)):
        vectors[copy] = vectors[of] + 0.02 * unit_vectors(1, 64, seed=copy)[0]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    contents = [0 if tile in {1, 9} else tile for tile in range(120)]
    names = [f"{tile:03}.png" for tile in range(120)]
    folder, _ = build_numbered(
        tmp_path_factory.mktemp("doubled"), vectors, names, contents=contents
    )
    histo_index.reindex(folder, distance="diffused")
    return OpenIndex(folder)


def test_copies_across_groups_are_found(doubled: OpenIndex) -> None:
    assert doubled.manifest.distance_kind == "diffused"
    groups = np.arange(120)
    groups[[1, 5]] = groups[[0, 4]]
    found = find_leakage(doubled, np.arange(120), groups, files=None)
    assert (found.identical, found.near, found.shared_tiles) == (2, 3, None)
    listed = {(twin.tile_a, twin.tile_b): twin for twin in found.listed}
    kinds = {pair: twin.kind for pair, twin in listed.items()}
    near = dict.fromkeys([(2, 3), (4, 6), (5, 6)], "nearly identical")
    assert kinds == dict.fromkeys([(0, 9), (1, 9)], "identical") | near
    plain = pair_distances(*read_embeddings(doubled, np.array([2, 3]))[:, None])[0]
    assert listed[2, 3].distance == pytest.approx(plain, abs=2e-6)
    assert not found.is_clean


def test_copies_across_groups_are_confirmed_on_pixels(doubled: OpenIndex) -> None:
    pictures = np.random.default_rng(0).integers(0, 255, (120, 32, 32), np.uint8)
    pictures[3] = pictures[2]
    files = numbered_pictures(doubled, pictures)
    found = find_leakage(doubled, np.arange(120), np.arange(120), files=files)
    assert (found.identical, found.near) == (3, 1)
    assert [(twin.tile_a, twin.tile_b) for twin in found.listed[3:]] == [(2, 3)]


def test_tiles_of_the_calibration_and_their_copies_are_found(doubled: OpenIndex) -> None:
    rows, groups = np.arange(120), np.arange(120)
    found = find_leakage(doubled, rows, groups, files=None, fitted_on=np.array([2, 4, 8]))
    assert (found.shared_tiles, found.calibration_duplicates) == (3, 3)
    nothing = np.array([], np.int64)
    none = find_leakage(doubled, rows, groups, files=None, fitted_on=nothing)
    assert (none.shared_tiles, none.calibration_duplicates) == (0, 0)


def test_leakage_names_only_what_there_is() -> None:
    none = Leakage(identical=0, near=0, listed=())
    assert none.describe() == ""
    assert replace(none, near=1).describe() == "1 nearly identical pair"
    assert replace(none, identical=2).describe() == "2 identical pairs"
    both = replace(none, identical=1, near=1200)
    assert both.describe() == "1 identical pair and 1,200 nearly identical pairs"


def test_a_lead_that_rounds_to_zero_has_no_minus_sign() -> None:
    auc = Estimate(value=0.9, low=0.8, high=0.95)
    lead = {"roc_auc": Estimate(value=-0.0001, low=-0.0002, high=0.0001)}
    own = Contender(name="index", pairs={"roc_auc": auc}, retrieval={}, lead={})
    text = headline(own, [replace(own, name="random weights", lead=lead)], is_trained=True)
    assert text.endswith("(lead +0.000, 95 % interval +0.000…+0.000)")


def test_an_untrained_encoder_is_called_so() -> None:
    own = Contender(
        name="index",
        pairs={"roc_auc": Estimate(value=0.9, low=0.8, high=0.95)},
        retrieval={},
        lead={},
    )
    assert headline(own, [], is_trained=False).startswith("The encoder is untrained")
