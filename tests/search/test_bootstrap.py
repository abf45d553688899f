"""Intervals hold the truth as often as they say, where resampling pairs fails."""

from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from histo_index.arrays import Bools, Float64, Int64
from histo_index.errors import InputError
from histo_index.search.bootstrap import Interval, Statistic, bands
from tests.conftest import Tries
from tests.search.test_coverage import expected_shares


def interval(
    statistic: Statistic, units_a: npt.ArrayLike, units_b: npt.ArrayLike | None = None, **how: Any
) -> Interval:
    low, high = bands(statistic, units_a, units_b, **how)
    return Interval(low=float(low), high=float(high))


def share_of(hits: Bools) -> Callable[[Float64], float]:
    def share(weights: Float64) -> float:
        total = weights.sum()
        return float(weights @ hits / total) if total else float("nan")

    return share


def simulate(
    seed: int, *, images: int, pairs: int, groups: int | None
) -> tuple[Bools, Int64, Int64]:
    """Draw verdicts that are right or wrong by how easy both images, and their groups, are.

    Returns:
        Whether each verdict is right, and the units of its two sides.
    """
    generator = np.random.default_rng(seed)
    units = np.arange(images) if groups is None else np.arange(images) % groups
    ease = generator.standard_normal(images if groups is None else groups)[units]
    left, right = generator.integers(0, images, (2, pairs))
    is_across = units[left] != units[right]
    left, right = left[is_across], right[is_across]
    noise = 0.5 * generator.standard_normal(len(left))
    return ease[left] + ease[right] + noise + 1.2 > 0, units[left], units[right]


TRUTH = NormalDist().cdf(1.2 / np.sqrt(2 + 0.5**2))


def coverage(
    find: Callable[[Bools, Int64, Int64], Interval], simulations: int, **design: int | None
) -> float:
    """Compute the share of the simulated intervals that hold the truth."""
    found = [find(*simulate(seed, **design)) for seed in range(simulations)]  # type: ignore[arg-type]
    return float(np.mean([interval.low <= TRUTH <= interval.high for interval in found]))


def by_units(hits: Bools, a: Int64, b: Int64) -> Interval:
    return interval(share_of(hits), a, b, rounds=100)


def by_pairs(hits: Bools, a: Int64, b: Int64) -> Interval:
    return interval(share_of(hits), np.arange(len(a)), rounds=100)


@pytest.mark.parametrize(
    ("images", "pairs", "groups", "most_by_pairs"),
    [(60, 600, None, 0.6), (150, 150, None, 0.92), (48, 500, 12, 0.4)],
    ids=["pairs that share images", "hardly any shared image", "groups"],
)
def test_the_truth_is_inside_as_often_as_promised(
    images: int, pairs: int, groups: int | None, most_by_pairs: float, tries: Tries
) -> None:
    simulations = tries(50, 400)
    design = {"images": images, "pairs": pairs, "groups": groups}
    low, high = expected_shares(simulations)
    assert low <= coverage(by_units, simulations, **design) <= high
    assert coverage(by_pairs, simulations, **design) < most_by_pairs


def test_single_items_are_resampled_by_group() -> None:
    hits = np.repeat(np.random.default_rng(0).random(40) < 0.7, 25)
    alone = interval(share_of(hits), np.arange(1000))
    grouped = interval(share_of(hits), np.repeat(np.arange(40), 25))
    # 40 groups of equal items say as much as 40 items: five times as wide as 1,000.
    assert (grouped.high - grouped.low) / (alone.high - alone.low) == pytest.approx(5, rel=0.1)


def test_a_perfect_share_is_not_certain() -> None:
    a, b = np.arange(0, 20), np.arange(20, 40)
    found = interval(share_of(np.ones(20, bool)), a, b)
    assert [found.low, found.high] == pytest.approx([0.025 ** (1 / 20), 1.0])
    found = interval(share_of(np.zeros(20, bool)), a, b)
    assert [found.low, found.high] == pytest.approx([0.0, 1 - 0.025 ** (1 / 20)])


def test_several_figures_are_as_each_by_itself() -> None:
    generator = np.random.default_rng(3)
    a, b = generator.integers(0, 30, (2, 200))
    values = generator.standard_normal((2, 200))
    low, high = bands(lambda w: values @ w / w.sum(), a, b, rounds=50, is_share=False)
    for number in (0, 1):
        one = interval(lambda w, p=number: values[p] @ w / w.sum(), a, b, rounds=50, is_share=False)  # type: ignore[misc]
        assert [one.low, one.high] == pytest.approx([low[number], high[number]])
        assert one.low < values[number].mean() < one.high


def test_independent_numbers_give_the_textbook_interval() -> None:
    numbers = np.random.default_rng(1).standard_normal(400)
    found = interval(lambda w: w @ numbers / w.sum(), np.arange(400), rounds=4000, is_share=False)
    half = 1.966 * numbers.std() / np.sqrt(400)
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.05)


def test_too_few_units_or_drawings_give_no_interval() -> None:
    hits = np.array([True, False, True])
    found = interval(share_of(hits), [0, 1, 2], [1, 2, 0])
    assert np.isnan([found.low, found.high]).all()
    a = np.arange(40)
    rarely = interval(lambda w: 0.5 if w[0] > 2 else float("nan"), a)
    assert np.isnan([rarely.low, rarely.high]).all()


@pytest.mark.parametrize(("a", "b"), [([], []), ([1, 2], [1])])
def test_sides_that_do_not_fit_are_refused(a: list[int], b: list[int]) -> None:
    with pytest.raises(InputError, match="one unit a side"):
        interval(lambda w: 0.5, a, b)
