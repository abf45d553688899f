"""The charts of a report, each with a text alternative."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from scipy.special import ndtri

from histo_index.arrays import Float64
from histo_index.report.svg import COLOURS, draw
from histo_index.search.calibration.calibration import Calibration, Histogram
from histo_index.search.evaluation.result import Contender, Evaluation, Reliability, RiskCoverage
from histo_index.search.pair_metrics import RocCurve

_SQUARE: Final = (4.2, 4.0)
_BINS: Final = 48
# Martin et al. (1997): the usual ticks of a detection error trade-off.
_DET_TICKS: Final = (0.001, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95)
_MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "*")
_HUES: Final = 8
# The share of wrong ones among fewer answers is noise: one wrong answer would be 100 %.
_FEWEST_ANSWERS: Final = 30
# The index, then the baselines; two of the baselines have curves.
_DASHES: Final = (("same", "-"), ("accent", "--"), ("muted", "-."))


def distance_histogram(found: Evaluation) -> Markup:
    """Draw the distributions of distances of same and different pairs, with the threshold."""
    distances, is_same = found.distances.astype(np.float64), found.dataset.is_same
    edges = np.linspace(0, max(float(distances.max()), 1e-6), _BINS + 1)
    counts = Histogram(
        edges=edges.tolist(),
        same=np.histogram(distances[is_same], edges)[0].tolist(),
        different=np.histogram(distances[~is_same], edges)[0].tolist(),
    )
    middles = [float(np.median(distances[kind])) for kind in (is_same, ~is_same)]
    alternative = (
        f"Histogram of distances. Median of same pairs {middles[0]:.4g}, of different pairs "
        f"{middles[1]:.4g}{_threshold_words(found.threshold.value)}."
    )
    return _spread("distances", alternative, counts, found.threshold.value)


def placed_distances(
    name: str, calibration: Calibration | None, distances: Sequence[float], threshold: float | None
) -> Markup | None:
    """Draw distances over those of the calibration pairs; None without their histogram."""
    histogram = calibration.histogram if calibration else None
    if histogram is None:
        return None
    alternative = (
        f"Histogram of the calibration's distances; here {_few(distances)}"
        f"{_threshold_words(threshold)}."
    )
    return _spread(name, alternative, histogram, threshold, marks=distances)


def _few(distances: Sequence[float]) -> str:
    if len(distances) == 1:
        return f"the distance is {distances[0]:.4g}"
    return f"{len(distances)} distances from {min(distances):.4g} to {max(distances):.4g}"


def _threshold_words(threshold: float | None) -> str:
    return "" if threshold is None else f"; the threshold is {threshold:.4g}"


def _spread(
    name: str,
    alternative: str,
    histogram: Histogram,
    threshold: float | None,
    *,
    marks: Sequence[float] = (),
) -> Markup:
    def paint(axes: Any) -> None:
        kinds = ("same", histogram.same, "-"), ("different", histogram.different, "--")
        for kind, counts, line in kinds:
            shares = 100 * np.array(counts) / max(sum(counts), 1)
            axes.stairs(shares, histogram.edges, fill=True, color=COLOURS[kind], alpha=0.3)
            axes.stairs(
                shares, histogram.edges, color=COLOURS[kind], linewidth=1.6, linestyle=line,
                label=f"{kind} pairs",
            )  # fmt: skip
        if threshold is not None:
            axes.axvline(threshold, color=COLOURS["ink"], linewidth=1.4, label="threshold")
        # One distance is a line, several are a rug.
        height = 0.6 if len(marks) == 1 else 0.12
        for number, mark in enumerate(marks):
            axes.axvline(
                mark, ymax=height, color=COLOURS["accent"], linewidth=2,
                label=None if number else "this query",
            )  # fmt: skip
        axes.set(xlabel="distance (smaller is more alike)", ylabel="% of the pairs of its kind")
        axes.set_xlim(0, max(histogram.edges[-1], *marks, threshold or 0.0))
        # Above the axes, because bars may be high anywhere.
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2)

    return draw(name, alternative, paint)


def roc(found: Evaluation) -> Markup:
    """Draw the ROC curves of the index and the baselines."""
    alarms, hits = _operating_point(found)

    def paint(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=COLOURS["muted"], linewidth=1, linestyle=":")
        for curve, line in _lines(found):
            axes.plot(curve.false_alarms, curve.hits, **line)
        axes.plot(alarms, hits, "o", color=COLOURS["ink"], label="threshold in use")
        axes.set(
            xlabel="different pairs called same", ylabel="same pairs called same",
            xlim=(0, 1), ylim=(0, 1.01), aspect="equal",
        )  # fmt: skip
        axes.legend(loc="lower right")

    alternative = (
        f"ROC curves, area {_of_each(found, 'roc_auc', '.3f')}; the threshold in use finds "
        f"{hits:.1%} of the same pairs and calls {alarms:.1%} of the different ones same."
    )
    return draw("roc", alternative, paint, size=_SQUARE)


def det(found: Evaluation) -> Markup:
    """Draw both error rates at every threshold, on the scale of normal deviates."""
    # Half a pair away from 0 and 1, which are at infinity.
    same = int(found.dataset.is_same.sum())
    edges = 0.5 / max(same, 1), 0.5 / max(len(found.distances) - same, 1)
    alarm, hit = _operating_point(found)

    def deviates(shares: npt.ArrayLike, edge: float) -> Float64:
        found_at: Float64 = ndtri(np.clip(shares, edge, 1 - edge))
        return found_at

    def paint(axes: Any) -> None:
        for curve, line in _lines(found):
            misses = deviates(1 - curve.hits, edges[0])
            axes.plot(deviates(curve.false_alarms, edges[1]), misses, **line)
        axes.plot(deviates(alarm, edges[1]), deviates(1 - hit, edges[0]), "o",
                  color=COLOURS["ink"], label="threshold in use")  # fmt: skip
        ticks, names = ndtri(_DET_TICKS), [f"{100 * tick:g} %" for tick in _DET_TICKS]
        axes.set_xticks(ticks, names, rotation=45)
        axes.set_yticks(ticks, names)
        axes.set(
            xlabel="different pairs called same", ylabel="same pairs called different",
            xlim=(ndtri(0.0005), ndtri(0.97)), ylim=(ndtri(0.0005), ndtri(0.97)), aspect="equal",
        )  # fmt: skip
        axes.legend(loc="upper right")

    alternative = (
        "Detection error trade-off; both errors are equal at "
        f"{_of_each(found, 'equal_error_rate', '.1%')}."
    )
    return draw("det", alternative, paint, size=_SQUARE)


def _lines(found: Evaluation) -> Iterator[tuple[RocCurve, dict[str, Any]]]:
    """Yield the curve and line style of the index, then of each baseline with a curve."""
    for contender, (colour, dashes) in zip(_with_curve(found), _DASHES, strict=False):
        width = 2.0 if contender is found.index else 1.4
        style = {"color": COLOURS[colour], "linestyle": dashes, "linewidth": width}
        assert contender.curve is not None
        yield contender.curve, {**style, "label": contender.name}


def _with_curve(found: Evaluation) -> list[Contender]:
    return [each for each in (found.index, *found.baselines) if each.curve is not None]


def _of_each(found: Evaluation, name: str, form: str) -> str:
    """Format a metric of the index, with those of the drawn baselines in brackets."""
    values = [(each.name, each.pairs[name].value) for each in _with_curve(found)]
    shown = [(who, "unknown" if value is None else f"{value:{form}}") for who, value in values]
    baselines = ", ".join(f"{who} {value}" for who, value in shown[1:])
    return f"{shown[0][1]} ({baselines})" if baselines else shown[0][1]


def _operating_point(found: Evaluation) -> tuple[float, float]:
    curve, threshold = found.index.curve, found.threshold.value
    assert curve is not None
    assert threshold is not None
    step = int(np.searchsorted(curve.thresholds, threshold, side="right")) - 1
    return float(curve.false_alarms[step]), float(curve.hits[step])


def reliability(found: Reliability) -> Markup:
    """Draw observed shares over predicted probabilities; larger points hold more pairs."""
    is_filled = found.share > 0
    said, share = found.said[is_filled], found.share[is_filled]

    def paint(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=COLOURS["muted"], linewidth=1, linestyle=":")
        axes.plot(said, found.found[is_filled], color=COLOURS["same"], linewidth=1.4)
        axes.scatter(said, found.found[is_filled], s=20 + 600 * share, color=COLOURS["same"])
        axes.set(
            xlabel="predicted probability", ylabel="observed share of same pairs",
            xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal",
        )  # fmt: skip

    worst = float(np.abs(said - found.found[is_filled]).max(initial=0))
    alternative = f"Reliability of the probabilities; the largest gap of a bin is {worst:.2f}."
    return draw("reliability", alternative, paint, size=_SQUARE)


def risk_coverage(found: RiskCoverage) -> Markup:
    """Draw the share of wrong answers if only the most certain pairs are answered."""
    answered, risk = found.answered, found.risk_answered
    first = min(_FEWEST_ANSWERS, len(found.risk)) - 1

    def paint(axes: Any) -> None:
        axes.plot(100 * found.coverage[first:], 100 * found.risk[first:],
                  color=COLOURS["same"], linewidth=2)  # fmt: skip
        if answered and risk and answered.value is not None and risk.value is not None:
            axes.plot(100 * answered.value, 100 * risk.value, "o", color=COLOURS["ink"],
                      label="with --unsure")  # fmt: skip
            axes.legend(loc="upper left")
        axes.set(
            xlabel="% of the pairs answered, most certain first", ylabel="% of the answers wrong",
            xlim=(0, 101), ylim=(0, None),
        )  # fmt: skip

    half = float(np.interp(0.5, found.coverage, found.risk))
    alternative = f"Of all answers {found.risk[-1]:.1%} are wrong; of the surest half {half:.1%}."
    return draw("risk-coverage", alternative, paint, size=_SQUARE)


def scatter(name: str, points: Float64, codes: npt.NDArray[np.int64], alternative: str) -> Markup:
    """Draw tiles as points; colour and shape encode their kind, by `hue_of` and `shape_of`.

    Args:
        name: name of the chart.
        points: float64 [n, 2].
        codes: int64 [n], kind of each, -1 unknown.
        alternative: text alternative of the chart.
    """

    def paint(axes: Any) -> None:
        size = float(np.clip(8_000 / len(points), 14, 44))
        for code in np.unique(codes).tolist():
            x, y = points[codes == code].T
            axes.scatter(
                x, y, s=size, marker=shape_of(code), color=COLOURS[hue_of(code)],
                alpha=0.4 if code < 0 else 0.85, linewidths=0,
            )  # fmt: skip
        axes.set(xlabel="first component", ylabel="second component")
        axes.set_xticks([])
        axes.set_yticks([])

    return draw(name, alternative, paint, size=(9.6, 5.6))


def legend_mark(name: str, code: int) -> Markup:
    """Draw the legend mark of a kind."""

    def paint(axes: Any) -> None:
        axes.plot(
            0,
            0,
            marker=shape_of(code),
            color=COLOURS[hue_of(code)],
            markersize=8,
            markeredgewidth=0,
        )
        axes.set_axis_off()

    return draw(f"{name}-{code}", "", paint, size=(0.22, 0.22))


def hue_of(code: int) -> str:
    """Return the colour name of a kind; the eight colours repeat with other shapes."""
    return "muted" if code < 0 else f"c{code % _HUES}"


def shape_of(code: int) -> str:
    """Return the marker of a kind: adjacent kinds differ in shape and colour."""
    return "." if code < 0 else _MARKERS[(code + code // _HUES) % len(_MARKERS)]
