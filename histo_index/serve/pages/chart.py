"""Where distances lie among those of the calibration: an SVG whose style is that of the page."""

from collections.abc import Sequence
from dataclasses import dataclass

from histo_index.search.calibration.calibration import Histogram

_WIDTH, _HEIGHT = 640, 150
# Steps of the scale, the first that gives no more ticks than these.
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_TICKS = 6


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A drawn histogram, in units of its view box.

    Attributes:
        width: of the view box.
        height: of the view box.
        same: path of the same pairs.
        different: path of the different pairs.
        marks: x of each distance.
        threshold: x of the threshold; None without one.
        ticks: x and text of each.
        words: what it shows, for those who cannot see it.
    """

    width: int
    height: int
    same: str
    different: str
    marks: list[float]
    threshold: float | None
    ticks: list[tuple[float, str]]
    words: str


def draw_spread(
    histogram: Histogram | None, distances: Sequence[float], threshold: float | None
) -> Spread | None:
    """Draw distances over those of the calibration pairs; None without their histogram."""
    if histogram is None or not distances:
        return None
    most = max(histogram.edges[-1], *distances, threshold or 0.0)

    def place(value: float) -> float:
        return round(_WIDTH * value / most, 1)

    step = next(step for step in _STEPS if step * _TICKS >= most)
    ticks = [step * tick for tick in range(int(most / step) + 1)]
    shares = [_shares(counts) for counts in (histogram.same, histogram.different)]
    highest = max(*shares[0], *shares[1], 1e-9)
    paths = [_path([place(edge) for edge in histogram.edges], one, highest) for one in shares]
    middle = (
        f"{min(distances):.4g}"
        if len(distances) == 1
        else (f"{min(distances):.4g} to {max(distances):.4g}")
    )
    limit = "" if threshold is None else f"; the threshold is {threshold:.4g}"
    return Spread(
        width=_WIDTH, height=_HEIGHT, same=paths[0], different=paths[1],
        marks=[place(distance) for distance in distances],
        threshold=None if threshold is None else place(threshold),
        ticks=[(place(tick), f"{tick:.2g}") for tick in ticks],
        words=f"Histogram of the distances of same and different pairs of the calibration; "
        f"here {middle}{limit}.",
    )  # fmt: skip


def _shares(counts: Sequence[float]) -> list[float]:
    return [count / max(sum(counts), 1) for count in counts]


def _path(edges: Sequence[float], shares: Sequence[float], highest: float) -> str:
    steps = [f"M{edges[0]} {_HEIGHT}"]
    for left, right, share in zip(edges[:-1], edges[1:], shares, strict=True):
        top = round(_HEIGHT * (1 - share / highest), 1)
        steps.append(f"L{left} {top}L{right} {top}")
    return "".join([*steps, f"L{edges[-1]} {_HEIGHT}Z"])
