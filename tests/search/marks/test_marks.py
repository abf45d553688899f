"""Marks are stored line by line, outlive crashes, and count by how likely they were proposed."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from histo_index.arrays import Float64, Int64
from histo_index.errors import InputError
from histo_index.indexer.format.manifest import MARKS_NAME
from histo_index.search.bootstrap import Estimate
from histo_index.search.calibration.fit import fit, fit_threshold
from histo_index.search.calibration.objectives import Objective
from histo_index.search.calibration.threshold import Threshold
from histo_index.search.distance import indexed_pair_distances
from histo_index.search.inputs.sample import Sample
from histo_index.search.marks.collect import collect, last_line
from histo_index.search.marks.dataset import marked_pairs
from histo_index.search.marks.file import append_mark, erase_marks, read_marks
from histo_index.search.marks.propose import Proposal, propose, repeat
from histo_index.search.marks.record import Mark, PairMark, TileMark, Undo, from_line, to_line
from histo_index.search.marks.standing import Step, find_standing
from histo_index.search.marks.table import label_table, pair_table
from tests.search.classes import Classes, build_classes


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Classes:
    return build_classes(tmp_path_factory.mktemp("classes"))


def pair(a: str, b: str, answer: str, user: str | None = None, selection: float = 1.0) -> PairMark:
    return PairMark(
        a=a, b=b, answer=answer, drawn="random", selection=selection, user=user, time="now"
    )


def test_marks_come_back_by_line(tmp_path: Path) -> None:
    marks: list[Mark] = [
        pair("a", "b", "same", 'Ärztin\n"x"'),
        TileMark(tile="a", label="fat", user=None, time="now"),
        Undo(line=1, user=None, time="now"),
    ]
    assert [append_mark(tmp_path, mark) for mark in marks] == [1, 2, 3]
    assert read_marks(tmp_path) == marks
    assert (tmp_path / MARKS_NAME).read_bytes().count(b"\n") == 3


def test_a_line_that_a_crash_cut_costs_nothing_but_itself(tmp_path: Path) -> None:
    first, second, third = (pair("a", name, "same") for name in "bcd")
    append_mark(tmp_path, first)
    path = tmp_path / MARKS_NAME
    whole, line = path.read_bytes(), to_line(second)
    for cut in range(len(line)):
        path.write_bytes(whole + line[:cut])
        assert [mark for mark in read_marks(tmp_path) if mark] in ([first], [first, second])
        append_mark(tmp_path, third)
        found = read_marks(tmp_path)
        assert (found[0], found[-1]) == (first, third)
        assert len(found) == (2 if cut == 0 else 3)


def test_the_checksum_is_the_documented_one() -> None:
    body = json.loads(to_line(pair("a", "b", "same", "Ä")))
    checksum = body.pop("checksum")
    text = json.dumps(body, sort_keys=True).encode("ascii")
    assert checksum == hashlib.sha256(text).hexdigest()[:16]


def test_a_damaged_line_is_no_mark() -> None:
    line = to_line(pair("a", "b", "same"))
    assert from_line(line) == pair("a", "b", "same")
    assert from_line(line.replace(b'"same"', b'"different"')) is None
    assert from_line(line.replace(b'"version": 1', b'"version": 2')) is None
    for damaged in (b"", b"{}", b"[]", b"null", b"\xff", line[:-3]):
        assert from_line(damaged) is None


def test_the_last_answer_counts_unless_it_is_undone() -> None:
    marks: list[Mark | None] = [
        pair("a", "b", "same"), pair("b", "a", "different"), pair("a", "c", "same"),
        Undo(line=2, user=None, time="now"), pair("a", "c", "skipped"),
    ]  # fmt: skip
    found = collect(marks)
    assert [(mark.b, mark.answer) for mark in found.pairs] == [("b", "same"), ("c", "skipped")]
    assert [mark.b for mark in found.agreed()] == ["b"]
    assert last_line(marks, None) == 5
    assert last_line(marks, "else") is None


def test_users_who_disagree_are_named_and_their_pair_left_out(classes: Classes) -> None:
    digests = classes.index.rows["sha256"].to_pylist()
    folder = classes.index.folder
    append_mark(folder, pair(digests[0], digests[3], "same", "Ann"))
    append_mark(folder, pair(digests[3], digests[0], "different", "Bo"))
    append_mark(folder, pair(digests[0], digests[6], "same", "Ann"))
    append_mark(folder, pair(digests[0], digests[1], "different", "Ann", selection=3.0))
    append_mark(folder, pair(digests[0], "gone", "different", "Ann"))
    found = marked_pairs(classes.index, group="patient")
    assert found.is_same.tolist() == [True, False]
    assert found.has_groups
    assert found.weights is not None
    assert found.weights.tolist() == pytest.approx([1.5, 0.5])
    assert found.sample(np.zeros(2, np.float32)).prior == pytest.approx(0.75)
    assert found.problems == [
        "the marks: users disagree about a pair, Ann and Bo; it is left out",
        "the marks: a tile of a pair is no longer in the index",
    ]
    (folder / MARKS_NAME).unlink()


def test_a_pair_on_which_three_users_differ_is_one_disagreement() -> None:
    found = collect([
        pair("a", "b", "same", "Ann"), pair("b", "a", "different", "Bo"),
        pair("a", "b", "different", "Cy"), pair("a", "c", "same", "Ann"),
        pair("a", "c", "skipped", "Bo"),
    ])  # fmt: skip
    assert [[mark.user for mark in marks] for marks in found.disagreements()] == [
        ["Ann", "Bo", "Cy"]
    ]
    assert [(mark.a, mark.b) for mark in found.agreed()] == [("a", "c")]
    assert found.answered_by_two() == 1


def test_tables_name_tiles_by_id_or_by_content_if_they_are_gone(classes: Classes) -> None:
    folder, digests = classes.index.folder, classes.index.rows["sha256"].to_pylist()
    assert (len(pair_table(classes.index)), len(label_table(classes.index))) == (0, 0)
    append_mark(folder, pair(digests[1], digests[0], "same", "Ann", selection=3.0))
    append_mark(folder, pair(digests[2], "gone", "skipped"))
    append_mark(folder, TileMark(tile=digests[3], label="fat", user=None, time="now"))
    ids = classes.index.rows["image_id"].to_pylist()
    rest = {"drawn": "random", "time": "now"}
    assert pair_table(classes.index).to_pylist() == [
        {"image_a": ids[1], "image_b": ids[0], "label": 1, "selection": 3.0, "user": "Ann", **rest},
        {"image_a": ids[2], "image_b": "gone", "label": None, "selection": 1.0, "user": None}
        | rest,
    ]
    assert label_table(classes.index).to_pylist() == [
        {"image_id": ids[3], "label": "fat", "user": None, "time": "now"}
    ]
    (folder / MARKS_NAME).unlink()


def test_without_both_kinds_nothing_can_be_fitted(classes: Classes) -> None:
    with pytest.raises(InputError, match="the marks: 0 same pairs and 0 different; expected both"):
        marked_pairs(classes.index)


def test_one_third_is_random_and_the_others_are_near(classes: Classes) -> None:
    threshold = Threshold(value=0.5, origin="")
    found = propose(classes.index, threshold, np.random.default_rng(0), 200, group="patient")
    kinds = [one.drawn for one in found]
    assert 45 < kinds.count("random") < 90
    groups = classes.groups
    assert all(groups[one.left] != groups[one.right] for one in found)
    gaps = {
        kind: np.median([abs(one.distance - 0.5) for one in found if one.drawn == kind])
        for kind in ("random", "near")
    }
    assert gaps["near"] < gaps["random"] / 3


def test_pairs_near_the_threshold_are_of_both_sides_where_few_are_below(classes: Classes) -> None:
    groups = np.array(classes.groups)
    left, right = np.triu_indices(len(groups), 1)
    across = groups[left] != groups[right]
    vectors = classes.vectors
    distances = ((vectors[left] - vectors[right]) ** 2).sum(axis=1)[across]
    limit = float(np.quantile(distances, 0.02))
    generator = np.random.default_rng(4)
    found = [
        one
        for _ in range(20)
        for one in propose(
            classes.index, Threshold(value=limit, origin=""), generator, 10, group="patient"
        )
    ]
    is_below = [one.distance <= limit for one in found]
    near = [one for one, proposal in zip(is_below, found, strict=True) if proposal.drawn == "near"]
    assert np.mean(near) == pytest.approx(0.5, abs=0.15)
    weights = [1 / one.selection for one in found]
    assert np.average(is_below, weights=weights) == pytest.approx(0.02, abs=0.015)


def test_weights_undo_that_pairs_near_the_threshold_are_proposed_more_often(
    classes: Classes,
) -> None:
    vectors, labels = classes.vectors, np.array(classes.labels)
    groups = np.array(classes.groups)
    left, right = np.triu_indices(len(labels), 1)
    across = groups[left] != groups[right]
    left, right = left[across], right[across]
    distances = ((vectors[left] - vectors[right]) ** 2).sum(axis=1)
    is_same = labels[left] == labels[right]
    # A threshold among same pairs, so that unweighted marks would have far too many of them.
    threshold = Threshold(value=float(np.median(distances[is_same])), origin="")
    generator = np.random.default_rng(1)
    found = [
        one
        for _ in range(150)
        for one in propose(classes.index, threshold, generator, 10, group="patient")
    ]

    def share(proposals: list[Proposal], weights: list[float]) -> float:
        same = [labels[one.left] == labels[one.right] for one in proposals]
        return float(np.average(same, weights=weights))

    weighted = share(found, [1 / one.selection for one in found])
    assert share(found, [1.0] * len(found)) > is_same.mean() + 0.2
    assert weighted == pytest.approx(is_same.mean(), abs=0.03)


def test_a_pair_that_is_marked_is_not_drawn_again_in_either_order(classes: Classes) -> None:
    digests = classes.index.rows["sha256"].to_pylist()
    pairs = [
        (left, right)
        for left in range(len(digests))
        for right in range(left)
        if classes.groups[left] != classes.groups[right]
    ]
    open_pairs, threshold = set(pairs[::600]), Threshold(value=0.5, origin="")
    excluded = [(digests[a], digests[b]) for a, b in pairs if (a, b) not in open_pairs]
    generator = np.random.default_rng(3)
    found = propose(classes.index, threshold, generator, 20, group="patient", excluded=excluded)
    drawn = [(max(one.left, one.right), min(one.left, one.right)) for one in found]
    assert len(drawn) == len(set(drawn)) >= 4
    assert set(drawn) <= open_pairs
    # The last pair is certain to be drawn, as a random pair is among one.
    assert found[-1].selection == pytest.approx(1)
    excluded = [(digests[a], digests[b]) for a, b in pairs]
    with pytest.raises(InputError, match="every pair across groups is marked or shown"):
        propose(classes.index, threshold, generator, 1, group="patient", excluded=excluded)


def test_answers_of_others_are_repeated_with_their_selection(classes: Classes) -> None:
    digests = classes.index.rows["sha256"].to_pylist()
    marks: list[Mark | None] = [
        pair(digests[0], digests[3], "same", "Ann", selection=2.0),
        pair(digests[1], digests[2], "skipped", "Ann"),
        pair(digests[4], digests[5], "different", "Bo"),
        pair("gone", digests[6], "same", "Ann"),
    ]
    collected = collect(marks)
    answers = collected.answered_by_others("Bo")
    assert [mark.a for mark in answers] == [digests[0], "gone"]
    (again,) = repeat(classes.index, answers, np.random.default_rng(0), 5)
    assert (again.left, again.right, again.drawn, again.selection) == (0, 3, "repeat", 2.0)
    assert collected.answered_by_two() == 0
    assert collect([*marks, pair(digests[3], digests[0], "same", "Bo")]).answered_by_two() == 1


def test_a_weight_counts_as_repetition() -> None:
    generator = np.random.default_rng(2)
    distances = generator.uniform(0, 2, 60)
    is_same = distances + generator.normal(0, 0.4, 60) < 1
    weights = generator.integers(1, 4, 60)
    units = np.arange(60)

    def sample(times: Int64, counts: Float64 | None) -> Sample:
        return Sample(
            distances=distances.repeat(times), is_same=is_same.repeat(times),
            units_a=units.repeat(times), units_b=units.repeat(times), prior=0.4, weights=counts,
        )  # fmt: skip

    once, counts = np.ones(60, np.int64), weights.astype(float)
    for objective in (Objective(), Objective(max_false_positive_rate=0.1)):
        repeated = fit_threshold(sample(weights, None), objective)
        assert fit_threshold(sample(once, counts), objective) == pytest.approx(repeated, abs=1e-6)
    assert abs(fit_threshold(sample(once, None), Objective()) - repeated) > 1e-4
    assert sample(weights, None).importance().mean() == pytest.approx(1)


def test_marks_of_purged_tiles_are_erased_and_later_lines_keep_their_number(
    tmp_path: Path,
) -> None:
    kept = pair("c", "d", "same", "Ann")
    for mark in (
        pair("a", "b", "same", "Bob"),
        TileMark(tile="b", label="Smith's fat", user="Bob", time="now"),
        kept,
        pair("c", "e", "different"),
        Undo(line=4, user=None, time="now"),
    ):
        append_mark(tmp_path, mark)
    assert erase_marks(tmp_path, {"b", "x"}) == 2
    text = (tmp_path / MARKS_NAME).read_text()
    assert "Bob" not in text
    assert "Smith" not in text
    found = collect(read_marks(tmp_path))
    assert (found.pairs, found.labels, found.damaged) == ([kept], [], 0)
    assert append_mark(tmp_path, kept) == 6
    assert erase_marks(tmp_path, {"b"}) == 0
    assert erase_marks(tmp_path / "none", {"b"}) == 0


def _answered(classes: Classes, count: int) -> list[PairMark]:
    """Answer pairs across patients by their classes, the first 20 all alike."""
    digests = classes.index.rows["sha256"].to_pylist()
    labels, groups = np.asarray(classes.labels), np.asarray(classes.groups)
    rows = range(len(digests))
    every = [(a, b) for a in rows for b in rows if a < b and groups[a] != groups[b]]
    same = [(a, b) for a, b in every if labels[a] == labels[b]]
    other = [(a, b) for a, b in every if labels[a] != labels[b]]
    mixed = [one for both in zip(same[20:], other, strict=False) for one in both]
    return [
        pair(digests[a], digests[b], "same" if labels[a] == labels[b] else "different",
             selection=0.5 if number % 3 else 0.1)
        for number, (a, b) in enumerate([*same[:20], *mixed][:count])
    ]  # fmt: skip


def test_the_threshold_is_fitted_after_every_ten_marks_and_says_why_it_is_unknown(
    classes: Classes,
) -> None:
    folder, known = classes.index.folder, dict[str, Step]()
    fitted = []
    for number, mark in enumerate(_answered(classes, 60), start=1):
        append_mark(folder, mark)
        if number < 38 or number in range(41, 49) or number in range(51, 59):
            continue
        standing = find_standing(classes.index, group="patient", known=known)
        fitted.append((number, [step.pairs for step in standing.steps], len(known)))
    assert fitted == [
        (38, [20, 30], 2), (39, [20, 30], 2), (40, [20, 30, 40], 3), (49, [20, 30, 40], 3),
        (50, [20, 30, 50], 4), (59, [20, 30, 50], 4), (60, [20, 40, 60], 5),
    ]  # fmt: skip
    first, middle, last = standing.steps
    assert (first.problem, first.width) == ("all of these pairs are of one kind", None)
    assert (middle.problem, last.problem) == (None, None)
    # The value of a calibration on all of these pairs.
    dataset = marked_pairs(classes.index, group="patient")
    ends = dataset.rows[dataset.left], dataset.rows[dataset.right]
    nothing = np.empty((0, classes.index.manifest.vector_size), np.float16)
    distances = indexed_pair_distances(classes.index, nothing, *ends)
    expected = fit(dataset.sample(distances), Objective())
    interval = expected.threshold_interval
    assert last.threshold == Estimate.of(expected.threshold, interval.low, interval.high)
    again = find_standing(classes.index, group="patient")
    assert list(again.steps) == [first, middle, last]
    (folder / MARKS_NAME).unlink()


def test_a_threshold_at_the_end_of_the_scale_is_none(classes: Classes) -> None:
    marks = _answered(classes, 60)
    kinds = {
        kind: [mark for mark in marks if mark.answer == kind] for kind in ("same", "different")
    }
    for rarer, likelier in (("same", "different"), ("different", "same")):
        for mark in [*kinds[rarer][:6], *kinds[likelier][:14]]:
            selection = 1.0 if mark.answer == rarer else 0.0001
            append_mark(classes.index.folder, replace(mark, selection=selection))
        (step,) = find_standing(classes.index, group="patient").steps
        assert step.problem == f"“{likelier}” is likelier at every distance"
        assert step.width is None
        assert step.threshold.value == pytest.approx(0 if likelier == "different" else 4, abs=0.01)
        (classes.index.folder / MARKS_NAME).unlink()
