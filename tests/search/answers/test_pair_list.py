"""A pair list is scored row by row, in order, from stored vectors."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from histo_index.errors import IndexFormatError
from histo_index.indexer.reader import OpenIndex
from histo_index.search.answers.pair_list import score_pairs
from histo_index.search.calibration.calibration import Calibration
from histo_index.search.calibration.threshold import Threshold
from histo_index.search.distance import indexed_pair_distances, pair_distances
from histo_index.search.inputs.pair_list import PairList
from histo_index.search.inputs.resolve import Resolver
from tests.search.classes import Classes
from tests.search.conftest import Numbers
from tests.vectors import NumberEncoder, build_numbered, unit_vectors

HALF = Threshold(value=2.0, origin="test")


def pair_list(
    pairs: list[tuple[str, str]],
    labels: list[int | None] | None = None,
    problems: dict[int, str] | None = None,
) -> PairList:
    left, right = zip(*pairs, strict=True)
    return PairList(
        image_a=pa.array(left, pa.string()),
        image_b=pa.array(right, pa.string()),
        labels=None if labels is None else pa.array(labels, pa.int8()),
        problems=problems or {},
    )


def test_one_row_out_per_row_in_with_the_right_numbers(numbers: Numbers) -> None:
    pairs = [("d.png", "s1/a.png"), ("new.png", "d.png"), ("gone", "d.png"), ("d.png", "d")]
    scores = score_pairs(numbers.index, pair_list(pairs), numbers.resolver, HALF)
    v = numbers.vectors
    expected = pair_distances(v[[4, 6, 4]], v[[0, 4, 4]])
    table = scores.table.to_pylist()
    assert [(row["image_a"], row["image_b"]) for row in table] == pairs
    assert [table[row]["distance"] for row in (0, 1, 3)] == pytest.approx(expected, abs=1e-6)
    assert table[3]["distance"] == 0
    assert [row["verdict"] for row in table] == [
        "same" if expected[0] <= 2 else "different",
        "same" if expected[1] <= 2 else "different",
        None,
        "same",
    ]
    assert [row["status"] for row in table] == ["ok", "ok", "error", "ok"]
    assert table[2]["message"].startswith("gone: not in the index")
    assert (table[2]["distance"], table[2]["threshold"]) == (None, None)
    assert scores.table.column_names == [
        "image_a", "image_b", "distance", "threshold", "verdict", "status", "message",
    ]  # fmt: skip
    assert (scores.pairs, scores.answered, scores.encoded) == (4, 3, 1)


def test_accuracy_counts_labelled_and_answered_rows_only(numbers: Numbers) -> None:
    v = numbers.vectors
    is_same = pair_distances(v[[0, 1]], v[[2, 3]]) <= 2
    pairs = [("s1/a.png", "s2/a.png"), ("s1/b.png", "s2/c.png"), ("gone", "d"), ("d", "e_1.png")]
    labels: list[int | None] = [int(is_same[0]), int(not is_same[1]), 1, None]
    scores = score_pairs(numbers.index, pair_list(pairs, labels), numbers.resolver, HALF)
    assert (scores.labelled, scores.correct, scores.accuracy) == (2, 1, 0.5)


def test_rows_with_a_problem_keep_it(numbers: Numbers) -> None:
    listed = pair_list([("d", "d"), ("", "")], problems={0: "too odd", 1: "nothing here"})
    scores = score_pairs(numbers.index, listed, numbers.resolver, HALF)
    assert scores.table["message"].to_pylist() == ["too odd", "nothing here"]
    assert scores.answered == 0


def test_without_threshold_rows_are_answered_unsure(numbers: Numbers) -> None:
    listed = pair_list([("d", "e_1")], labels=[1])
    nobody = Threshold.choose(None, None)
    scores = score_pairs(numbers.index, listed, numbers.resolver, nobody)
    assert scores.table["verdict"].to_pylist() == ["unsure"]
    assert scores.table["threshold"].to_pylist() == [None]
    assert (scores.answered, scores.labelled, scores.accuracy) == (1, 0, None)


def test_the_fast_path_equals_the_plain_one(tmp_path_factory: pytest.TempPathFactory) -> None:
    vectors = unit_vectors(300, 64)
    folder, _ = build_numbered(
        tmp_path_factory.mktemp("many"), vectors, [f"{n}.png" for n in range(300)]
    )
    index = OpenIndex(folder)
    extra = unit_vectors(20, 64, seed=9).astype(np.float16)
    generator = np.random.default_rng(1)
    left, right = generator.integers(0, 320, (2, 5000))
    stored = np.concatenate([index.matrix, extra])
    expected = pair_distances(stored[left], stored[right])
    fast = indexed_pair_distances(index, extra, left, right, piece_pairs=700)
    assert fast == pytest.approx(expected, abs=1e-6)
    inside = np.flatnonzero((left < 300) & (right < 300))
    alone = indexed_pair_distances(index, extra[:0], left[inside], right[inside])
    assert alone == pytest.approx(expected[inside], abs=1e-6)


def test_an_unseen_image_unlike_the_index_makes_its_pairs_unsure(
    classes: Classes, calibration: Calibration, tmp_path: Path
) -> None:
    vectors = np.concatenate([classes.vectors, -classes.vectors[5:6]])
    unseen = tmp_path / "unseen"
    unseen.mkdir()
    (unseen / "odd.png").write_text(str(len(classes.vectors)))
    encoder = NumberEncoder(vectors, tmp_path / "numbers")
    resolver = Resolver(classes.index, encoder.encode_files, root=unseen)
    threshold = Threshold.choose(None, None, calibration, unsure=True)
    odd_pairs = [("odd.png", "t05.png"), ("t05.png", "odd.png"), ("odd.png", "odd.png")]
    listed = pair_list([*odd_pairs, ("t05.png", "t05.png")])
    scores = score_pairs(classes.index, listed, resolver, threshold)
    message = "unsure: an image is unlike everything in the index"
    assert scores.table["message"].to_pylist() == [message] * 3 + [""]
    assert scores.table["verdict"].to_pylist() == ["unsure"] * 3 + ["same"]
    assert scores.answered == 4


def test_a_damaged_vector_is_not_scored(tmp_path: Path) -> None:
    folder, _ = build_numbered(tmp_path, unit_vectors(600, 8), [f"{n}.png" for n in range(600)])
    (file,) = folder.glob("search/*/vectors.npy")
    damaged = bytearray(file.read_bytes())
    damaged[-1] ^= 1
    file.write_bytes(damaged)
    index, nothing = OpenIndex(folder), np.empty((0, 8), np.float16)
    left = np.array([0, 511])
    distances = indexed_pair_distances(index, nothing, left, left[::-1])
    assert distances[0] == distances[1] > 0
    with pytest.raises(IndexFormatError, match="damaged at row 512"):
        indexed_pair_distances(index, nothing, left, np.array([5, 512]))


def test_the_reference_shape_encodes_each_image_once(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """The reference method's list: 49,807 pairs over 3,427 images, each 12 to 50 times."""
    folder = tmp_path_factory.mktemp("reference")
    images, pairs = 3427, 49_807
    vectors = unit_vectors(images + 1, 8)
    _, encoder = build_numbered(folder, vectors, ["anything.png"])
    unseen = folder / "unseen"
    unseen.mkdir()
    names = [f"{number:012x}" for number in range(images)]
    for number, name in enumerate(names):
        (unseen / f"{name}.png").write_text(str(number + 1))
    encoder.encoded.clear()
    generator = np.random.default_rng(0)
    left = np.concatenate([np.arange(images), generator.integers(0, images, pairs - images)])
    right = generator.permutation(left)
    listed = pair_list([(names[a], names[b]) for a, b in zip(left, right, strict=True)])
    index = OpenIndex(folder / "tiles.hx")
    resolver = Resolver(index, encoder.encode_files, root=unseen)
    scores = score_pairs(index, listed, resolver, HALF)
    assert sorted(encoder.encoded) == sorted(f"{name}.png" for name in names)
    assert scores.encoded == images
    rounded = vectors.astype(np.float16)
    expected = pair_distances(rounded[left + 1], rounded[right + 1])
    assert scores.table["distance"].to_numpy() == pytest.approx(expected, abs=1e-6)
