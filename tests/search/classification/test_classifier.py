"""What class is a tile: the model of an index answers, and says where it does not hold."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import histo_index
from histo_index.errors import InputError
from histo_index.indexer.reader import OpenIndex
from histo_index.progress import Progress, listening
from histo_index.search.answers.neighbours import Nearest
from histo_index.search.answers.searching import SearchOptions, require_answers, search
from histo_index.search.calibration.threshold import Threshold
from histo_index.search.classification.answer import Classifier, classify_each
from histo_index.search.classification.fit_index import fit_class_model
from histo_index.search.classification.model import ClassModel, split_digests
from histo_index.search.classification.table import class_rows
from histo_index.search.inputs.labelled_pairs import LabelledPairs, make_labelled_pairs
from histo_index.search.inputs.labels import read_labels
from histo_index.search.inputs.resolve import Located
from tests.search.classes import CLASSES, TILES, Classes, build_classes, class_vectors

THRESHOLD = Threshold(value=1.0, origin="given")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Classes:
    return build_classes(tmp_path_factory.mktemp("classes"))


def dataset_of(index: OpenIndex) -> LabelledPairs:
    return make_labelled_pairs(index, read_labels(index, group="patient"), None, group="patient")


def model_of(index: OpenIndex, dataset: LabelledPairs | None = None) -> ClassModel:
    model = fit_class_model(index, dataset or dataset_of(index))
    assert isinstance(model, ClassModel)
    return model


@pytest.fixture(scope="module")
def model(built: Classes) -> ClassModel:
    return model_of(built.index)


def foreign(count: int) -> list[Located]:
    """Make images of new patients; image i is of class i modulo 3."""
    vectors = class_vectors(0.2, seed=0)[0][:count] + np.float32(0.01)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return [Located(name=f"n{i}", vector=v) for i, v in enumerate(unit.astype(np.float16))]


def indexed(built: Classes, row: int) -> Located:
    return Located(name="it", vector=built.index.vectors(np.array([row]))[0], row=row)


def neighbours_of(
    built: Classes, model: ClassModel, images: Sequence[Located], options: SearchOptions
) -> list[Nearest]:
    classifier = Classifier(built.index, model)
    return require_answers(search(built.index, images, THRESHOLD, options, classifier=classifier))


def test_a_labelled_neighbour_has_the_probability_of_its_class(
    built: Classes, model: ClassModel
) -> None:
    for found in neighbours_of(built, model, foreign(6), SearchOptions(k=TILES)):
        assert found.classes is not None
        chances = {chance.label: chance for chance in found.classes.chances}
        assert sum(chance.probability for chance in chances.values()) == pytest.approx(1)
        assert {neighbour.label for neighbour in found} == set(CLASSES)
        for neighbour in found:
            assert neighbour.label == neighbour.metadata["label"]
            chance = chances[str(neighbour.label)]
            assert neighbour.probability == chance.probability
            assert (neighbour.probability_low, neighbour.probability_high) == (None, None)
            assert neighbour.verdict is not None


def test_the_likeliest_class_is_the_true_one(built: Classes, model: ClassModel) -> None:
    answers = Classifier(built.index, model).classify(foreign(12))
    assert [answer.label for answer in answers] == [CLASSES[i % 3] for i in range(12)]
    assert min(answer.probability or 0 for answer in answers) > 0.5


def test_a_tile_of_the_index_is_compared_with_other_groups_only(
    built: Classes, model: ClassModel
) -> None:
    (found,) = neighbours_of(built, model, [indexed(built, 0)], SearchOptions(k=TILES))
    own = built.groups[0]
    assert {n.probability is None for n in found if n.metadata["patient"] == own} == {True}
    assert {n.probability is None for n in found if n.metadata["patient"] != own} == {False}
    # A model without its patient answers alike: nothing of the patient takes part.
    classifier = Classifier(built.index, model)
    new = Located(name="new", vector=indexed(built, 0).vector)
    expected = classifier.classify([new], {"patient": own})[0].chances
    assert found.classes is not None
    assert found.classes.chances == expected
    assert classifier.classify([new])[0].chances != expected


def test_a_group_of_the_label_file_is_named_by_its_column(
    built: Classes, model: ClassModel
) -> None:
    # The index has no such column: the model knows the groups of the label file by their hashes.
    dataset = replace(dataset_of(built.index), group_column=None, file_group="donor")
    of_file = model_of(built.index, dataset)
    assert built.groups[0] not in str(of_file.as_dict())
    new = Located(name="new", vector=indexed(built, 0).vector)
    classifier = Classifier(built.index, of_file)
    (found,) = classifier.classify([new], {"donor": built.groups[0]})
    (expected,) = Classifier(built.index, model).classify([new], {"patient": built.groups[0]})
    assert found == expected
    own = {row for row, group in enumerate(built.groups) if group == built.groups[0]}
    assert found.own_rows == own
    assert classifier.classify([new], {"donor": "another"}) == classifier.classify([new])
    with pytest.raises(InputError, match="--value owner: no such column"):
        classifier.classify([new], {"owner": built.groups[0]})


def test_filtered_neighbours_have_no_probability(built: Classes, model: ClassModel) -> None:
    (found,) = neighbours_of(built, model, foreign(1), SearchOptions(k=5, where="label <> 'fat'"))
    assert {neighbour.probability for neighbour in found} == {None}
    assert {neighbour.label for neighbour in found} <= {"gland", "stroma"}
    assert found.classes is not None
    assert len(found.classes.chances) == 3


def test_without_a_class_model_neighbours_have_verdicts_only(built: Classes) -> None:
    (found,) = require_answers(search(built.index, foreign(1), THRESHOLD, SearchOptions(k=5)))
    assert found.classes is None
    assert {n.probability for n in found} == {None}
    assert {n.verdict is not None for n in found} == {True}


def test_a_class_of_one_group_is_named_and_not_scored(built: Classes) -> None:
    dataset = dataset_of(built.index)
    # Of fat only the tiles of one patient are labelled.
    fat, kept = dataset.classes.index("fat"), dataset.groups[0]
    is_dropped = (dataset.labels == fat) & (dataset.groups != kept)
    model = model_of(built.index, replace(dataset, labels=np.where(is_dropped, -1, dataset.labels)))
    assert model.unscored == ["fat"]
    (answer,) = Classifier(built.index, model).classify(foreign(1))
    assert answer.unscored == ["fat"]
    assert {chance.label for chance in answer.chances} == {"gland", "stroma"}
    (found,) = neighbours_of(built, model, foreign(1), SearchOptions(k=TILES))
    assert {n.probability is None for n in found if n.metadata["label"] == "fat"} == {True}


def test_fitting_reports_how_far_it_has_come(tmp_path: Path) -> None:
    # Enough tiles for diffused distances, which are fitted again without the groups of each fold.
    parts = [class_vectors(0.3, seed=seed) for seed in range(2)]
    vectors, labels, groups = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    names = [f"{number:03}.png" for number in range(len(vectors))]
    metadata = {"label": labels.tolist(), "patient": groups.tolist()}
    made = histo_index.from_embeddings(names, vectors, tmp_path / "diffused.hx", metadata)
    states: list[Progress] = []
    with listening(states.append):
        model_of(made.opened)
    ends = {state.stage: (state.done, state.total) for state in states}
    assert ends["fitting without groups"] == (5, 5)
    assert ends["fitting classes"] == (8, 8)


def test_too_few_groups_have_no_class_model(built: Classes) -> None:
    dataset = dataset_of(built.index)
    fewer = replace(dataset, groups=dataset.groups % 3)
    assert fit_class_model(built.index, fewer) == (
        "3 classes with tiles of two groups, and 3 groups; expected at least 2 and 4: label more"
    )


def test_ten_groups_have_intervals(built: Classes) -> None:
    dataset = dataset_of(built.index)
    groups = np.arange(TILES) % 16
    names = [f"g{group:02}" for group in range(16)]
    model = model_of(
        built.index, replace(dataset, groups=groups, group_names=names, group_column=None)
    )
    (answer,) = Classifier(built.index, model).classify(foreign(1))
    for chance in answer.chances:
        assert chance.low is not None
        assert chance.high is not None
        assert 0 <= chance.low < chance.probability < chance.high <= 1


def test_a_changed_index_has_no_probabilities(built: Classes, model: ClassModel) -> None:
    digests = split_digests(model.live)
    assert len(digests) == TILES
    fits = replace(model, live="".join(digests[: TILES - TILES // 6]))
    assert Classifier(built.index, fits).classify(foreign(1))[0].problem is None
    stale = replace(model, live="".join(digests[: TILES - TILES // 4]))
    (found,) = neighbours_of(built, stale, foreign(1), SearchOptions(k=5))
    assert found.classes is not None
    assert found.classes.problem == (
        "about 25 % of the tiles were added or removed since the calibration; "
        "run `histo-index calibrate` again"
    )
    assert {neighbour.probability for neighbour in found} == {None}


def test_a_tile_unlike_everything_labelled_is_novel(built: Classes, model: ClassModel) -> None:
    generator = np.random.default_rng(5)
    drawn = generator.standard_normal((1, built.vectors.shape[1]))
    (odd,) = (drawn / np.linalg.norm(drawn)).astype(np.float16)
    images = [Located(name="odd", vector=odd)]
    classifier = Classifier(built.index, model)
    assert [answer.is_novel for answer in classifier.classify([*images, *foreign(2)])] == [
        True,
        False,
        False,
    ]
    assert 0 <= model.novelty.detected <= 1


def test_one_bad_image_leaves_the_others(built: Classes, model: ClassModel) -> None:
    classifier = Classifier(built.index, model)
    names = ["a", "b", "c"]
    found = classify_each(
        classifier, [foreign(1)[0], InputError("no such file"), foreign(2)[1]], {}
    )
    rows = class_rows(names, found)
    assert [row["query"] for row in rows] == names
    assert [row["status"] for row in rows] == ["ok", "error", "ok"]
    assert rows[1]["message"] == "no such file"
    assert [row["class"] for row in rows] == ["fat", None, "gland"]
    assert rows[0]["probability"] == rows[0]["p(fat)"]
    with pytest.raises(InputError, match="no class model: run `histo-index calibrate --labels"):
        classify_each(None, foreign(1), {})


def test_a_model_is_stored_and_read_as_it_was(model: ClassModel) -> None:
    assert ClassModel.from_dict(model.as_dict()) == model


def test_private_classes_are_not_stored(built: Classes, tmp_path: Path) -> None:
    metadata = {"label": built.labels, "patient": built.groups}
    made = histo_index.from_embeddings(
        built.names, built.vectors, tmp_path / "i.hx", metadata, private=["label"]
    )
    opened = OpenIndex(made.opened.folder, private=True)
    assert fit_class_model(opened, dataset_of(opened)) == (
        "the column of classes is private, and every user of the index would see them"
    )


def test_private_groups_leave_unlabelled_tiles_without_probabilities(
    built: Classes, tmp_path: Path
) -> None:
    metadata = {"label": ["", *built.labels[1:]], "patient": built.groups}
    folder = tmp_path / "i.hx"
    histo_index.from_embeddings(built.names, built.vectors, folder, metadata, private=["patient"])
    shown, hidden = OpenIndex(folder, private=True), OpenIndex(folder)
    model = model_of(shown)
    image = indexed(built, 0)
    assert Classifier(shown, model).classify([image])[0].problem is None
    (answer,) = Classifier(hidden, model).classify([image])
    assert answer.problem == "the column of groups is private; pass --private to use it"
    # The group of a labelled tile is in the model.
    other = indexed(built, 1)
    expected = Classifier(shown, model).classify([other])
    assert Classifier(hidden, model).classify([other]) == expected
