"""Labels and pairs become tiles, classes, groups and usable pairs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from histo_index.errors import InputError
from histo_index.search.inputs.labelled_pairs import LabelledPairs, make_labelled_pairs
from histo_index.search.inputs.labels import read_labels
from histo_index.search.inputs.pair_list import list_pairs
from histo_index.search.inputs.row_pairs import draw_pairs
from tests.search.classes import Classes


def of_pairs(classes: Classes, rows: Sequence[Sequence[Any]], **options: Any) -> LabelledPairs:
    return make_labelled_pairs(classes.index, None, list_pairs(rows), pairs_name="p.csv", **options)


def test_pairs_are_drawn_across_groups_as_many_same_as_different(classes: Classes) -> None:
    found = make_labelled_pairs(classes.index, read_labels(classes.index, group="patient"), None)
    assert (found.groups[found.left] != found.groups[found.right]).all()
    same = found.labels[found.left] == found.labels[found.right]
    assert same.tolist() == found.is_same.tolist()
    assert found.is_same.mean() == 0.5
    # Of 96 tiles in 3 classes and 8 groups all same pairs across groups: 3 · 32 · 28 / 2.
    assert found.is_same.sum() == 1344
    again = make_labelled_pairs(classes.index, read_labels(classes.index, group="patient"), None)
    assert found.left.tolist() == again.left.tolist()


def test_few_are_drawn_of_many() -> None:
    left, right, is_same = draw_pairs(np.arange(500) % 2, np.arange(500), seed=1)
    assert (len(left), int(is_same.sum())) == (10_000, 5_000)
    assert len(np.unique(left * 500 + right)) == 10_000


def test_classes_that_lie_in_one_group_each_are_refused(classes: Classes) -> None:
    with pytest.raises(InputError, match="no class has tiles in two groups"):
        make_labelled_pairs(classes.index, read_labels(classes.index, group="label"), None)


def test_unusable_pairs_are_reported_by_number(classes: Classes) -> None:
    found = of_pairs(
        classes,
        [
            ("t00.png", "t01.png", 0),
            ("t00.png", "t03.png", 1),
            ("none.png", "t03.png", 1),
            ("t04.png", "t04.png", 1),
            ("t04.png", "t05.png", None),
            ("t04.png", "t05.png", "nan"),
            ("t04.png", "", 1),
        ],
    )
    assert found.is_same.tolist() == [False, True]
    assert found.problems == [
        "p.csv pair 3: none.png is not in the index, or names several tiles",
        "p.csv pair 4: a tile with itself",
        "p.csv pair 5: no label",
        "p.csv pair 6: label 'nan' is neither 0 nor 1",
        "p.csv pair 7: an image name is missing",
    ]


def test_a_repeated_pair_counts_once_and_one_of_both_labels_not_at_all(classes: Classes) -> None:
    found = of_pairs(
        classes,
        [
            ("t00.png", "t01.png", 0),
            ("t01.png", "t00.png", 0),
            ("t02.png", "t05.png", 1),
            ("t05.png", "t02.png", 0),
            ("t06.png", "t09.png", 1),
        ],
    )
    assert [found.names[tile] for tile in found.left] == ["t00.png", "t06.png"]
    assert found.problems == ["p.csv pair 4: labelled 0, but 1 as pair 3; both are left out"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("t00.png", "t01.png")], "p.csv: no labels in it"),
        ([("x.png", "t01.png", 1)], "p.csv: not one pair can be used; the first: p.csv pair 1"),
        ([("t00.png", "t03.png", 1)], "p.csv: same pairs only, 1 of them; expected both kinds"),
        (
            [("t00.png", "t03.png", 1), ("x.png", "t01.png", 0)],
            "expected both kinds; the first that is not usable: p.csv pair 2: x.png",
        ),
    ],
)
def test_list_without_a_usable_row_is_refused(
    classes: Classes, rows: list[Any], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        of_pairs(classes, rows)
    assert message in str(caught.value)


def test_groups_of_pairs_come_from_the_index_and_must_be_there(classes: Classes) -> None:
    rows = [("t00.png", "t03.png", 1), ("t00.png", "t01.png", 0)]
    found = of_pairs(classes, rows, group="patient")
    assert [found.group_names[code] for code in found.groups] == [
        "patient-0", "patient-1", "patient-3"
    ]  # fmt: skip
    assert not of_pairs(classes, rows).has_groups
    # Each tile as its own group is a known group too.
    assert of_pairs(classes, rows, group="patient").has_groups
    with pytest.raises(InputError, match="no column ward"):
        of_pairs(classes, rows, group="ward")


def test_a_subsample_keeps_the_pairs_among_its_tiles(classes: Classes) -> None:
    whole = make_labelled_pairs(classes.index, read_labels(classes.index, group="patient"), None)
    part = whole.subsample(20)
    assert len(part.rows) == len(np.unique(part.rows)) == 20
    assert part.names == [whole.names[row] for row in np.searchsorted(whole.rows, part.rows)]
    pairs = {(whole.names[a], whole.names[b]) for a, b in zip(whole.left, whole.right, strict=True)}
    kept = {(part.names[a], part.names[b]) for a, b in zip(part.left, part.right, strict=True)}
    assert kept == {(a, b) for a, b in pairs if {a, b} <= set(part.names)}
    assert len(kept) > 20
    assert whole.subsample(1000).names == whole.names


def test_half_of_a_subsample_is_drawn_from_all_tiles(classes: Classes) -> None:
    pairs = list_pairs([(f"t{a:02d}.png", f"t{a + 48:02d}.png", a % 2) for a in range(24)])
    labels = read_labels(classes.index, group="patient")
    whole = make_labelled_pairs(classes.index, labels, pairs, pairs_name="p.csv")
    part = whole.subsample(24)
    paired = whole.rows[np.concatenate([whole.left, whole.right])]
    assert len(part.left) >= 6
    assert len(np.setdiff1d(part.rows, paired)) >= 3


def test_a_subsample_of_sparse_pairs_keeps_whole_pairs(classes: Classes) -> None:
    rows = [(f"t{a:02d}.png", f"t{a + 48:02d}.png", a % 2) for a in range(48)]
    assert len(of_pairs(classes, rows).subsample(24).left) >= 6
