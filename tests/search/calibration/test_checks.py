"""Labelled pairs that cannot tell a threshold are refused; doubtful ones are told in one line."""

from typing import Any

import numpy as np
import pytest

from histo_index.errors import InputError
from histo_index.search.bootstrap import Estimate
from histo_index.search.calibration.checks import find_warnings, require_enough
from histo_index.search.inputs.labelled_pairs import LabelledPairs

KNOWN = Estimate(value=0.9, low=0.85, high=0.93)


def of_pairs(pairs: list[tuple[int, int, int]], groups: list[int] | None = None) -> LabelledPairs:
    """Make a dataset of pairs of numbered tiles: first, second, 1 same or 0 different."""
    left, right, same = np.array(pairs).T
    tiles = int(max(left.max(), right.max())) + 1
    units = list(range(tiles)) if groups is None else groups
    names, codes = np.unique([f"u{unit:02d}" for unit in units], return_inverse=True)
    return LabelledPairs(
        rows=np.arange(tiles),
        names=[f"tile-{tile}" for tile in range(tiles)],
        classes=[],
        labels=np.full(tiles, -1),
        group_names=names.tolist(),
        groups=codes,
        left=left,
        right=right,
        is_same=same == 1,
        pairs_from="p.csv",
        labels_from=None,
        has_groups=groups is not None,
        problems=[],
    )


def chain(count: int, **options: Any) -> LabelledPairs:
    """Pair tiles 0 and 1, 2 and 3, …, alternately same and different."""
    return of_pairs([(2 * n, 2 * n + 1, n % 2) for n in range(count)], **options)


def test_enough_unrelated_pairs_raise_only_the_missing_groups_warning() -> None:
    require_enough(chain(40))
    (line,) = find_warnings(chain(40), KNOWN)
    assert line.startswith("no groups: tiles of one patient are treated as independent")
    assert find_warnings(chain(40, groups=list(range(80))), KNOWN) == []


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (chain(18), "p.csv: 9 same and 9 different pairs are too few; expected at least 20, 5 of"),
        (
            of_pairs([(2 * n, 2 * n + 1, int(n < 3)) for n in range(40)]),
            "p.csv: 3 same and 37 different pairs are too few",
        ),
        (
            chain(40, groups=[tile % 2 for tile in range(80)]),
            "p.csv: the pairs are of 2 groups; expected at least 4: label pairs of others, or pass "
            "--group path to treat every tile as independent",
        ),
        (chain(40, groups=[0] * 80), "p.csv: the pairs are of 1 group; expected at least 4"),
        (
            of_pairs([(0, n, n % 2) for n in range(1, 41)]),
            "p.csv: all 40 pairs share tile u00; add pairs that do not involve it",
        ),
    ],
)
def test_pairs_that_determine_no_threshold_are_refused(
    dataset: LabelledPairs, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        require_enough(dataset)
    assert message in str(caught.value)


def test_contradicting_labels_are_reported_with_an_example() -> None:
    same = [(2 * n, 2 * n + 1, n % 2) for n in range(2, 40)]
    dataset = of_pairs([(0, 1, 1), (1, 2, 1), (0, 2, 0), *same], groups=list(range(80)))
    assert find_warnings(dataset, KNOWN) == [
        "1 pair labelled different, contradicting same pairs (a = b, b = c, a ≠ c); "
        "the first: tile-0 and tile-2"
    ]


def test_same_pairs_within_a_group_are_reported() -> None:
    groups = [tile // 2 for tile in range(80)]
    dataset = of_pairs(
        [*((2 * n, 2 * n + 1, 1) for n in range(6)), *((n, 79 - n, n % 2) for n in range(40))],
        groups=groups,
    )
    (line,) = find_warnings(dataset, KNOWN)
    # Tiles 39 and 40 are of two groups, 38 and 41 too: the six are all there are.
    assert line.startswith("6 of 26 same pairs are of one group")


def test_tile_in_most_pairs_is_reported() -> None:
    pairs = [*((0, n, n % 2) for n in range(1, 31)), *((n, n + 30, n % 2) for n in range(1, 21))]
    (line,) = find_warnings(of_pairs(pairs, groups=list(range(51))), KNOWN)
    assert line == "30 of 50 pairs share group u00"


@pytest.mark.parametrize(
    ("accuracy", "message"),
    [
        (
            Estimate(value=0.8, low=0.6, high=0.9),
            "the accuracy is uncertain",
        ),
        (Estimate(value=0.8, low=None, high=None), "too few groups to estimate the accuracy"),
    ],
)
def test_unknown_accuracy_is_reported(accuracy: Estimate, message: str) -> None:
    (line,) = find_warnings(chain(40, groups=list(range(80))), accuracy)
    assert line.startswith(message)
