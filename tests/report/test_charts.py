"""What is drawn is what was found: charts are read back from matplotlib's own axes."""

from typing import Any

import numpy as np
import pytest
from markupsafe import Markup
from matplotlib.figure import Figure
from scipy.stats import norm

from histo_index.report import charts
from histo_index.report.svg import COLOURS, draw
from tests.report.conftest import Judged


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Collect the axes of every chart instead of writing it."""
    axes: list[Any] = []

    def keep(name: str, alternative: str, paint: Any, **_: Any) -> Markup:
        axes.append(Figure().add_subplot())
        paint(axes[-1])
        return Markup()

    monkeypatch.setattr(charts, "draw", keep)
    return axes


def test_the_histogram_holds_every_pair_in_its_bin(judged: Judged, drawn: list[Any]) -> None:
    charts.distance_histogram(judged.found)
    (axes,) = drawn
    distances, is_same = judged.found.distances, judged.found.dataset.is_same
    _, same, _, different = (patch.get_data() for patch in axes.patches)
    for found, kind in ((same, is_same), (different, ~is_same)):
        counts = np.histogram(distances[kind].astype(np.float64), found.edges)[0]
        assert counts.sum() == kind.sum()
        assert found.values == pytest.approx(100 * counts / kind.sum())
    assert list(axes.lines[0].get_xdata()) == [judged.found.threshold.value] * 2


def test_a_distance_is_marked_among_those_of_the_calibration(
    judged: Judged, drawn: list[Any]
) -> None:
    histogram = judged.calibration.histogram
    assert histogram is not None
    charts.placed_distances("here", judged.calibration, [0.3, 0.5], 0.4)
    (axes,) = drawn
    values = axes.patches[1].get_data().values
    assert values == pytest.approx(100 * np.array(histogram.same) / sum(histogram.same))
    assert [line.get_xdata()[0] for line in axes.lines] == [0.4, 0.3, 0.5]
    assert charts.placed_distances("none", None, [0.3], 0.4) is None


def test_roc_and_det_show_both_errors_at_the_threshold(judged: Judged, drawn: list[Any]) -> None:
    charts.roc(judged.found)
    charts.det(judged.found)
    found = judged.found
    is_called = found.distances.astype(np.float64) <= float(str(found.threshold.value))
    hits = is_called[found.dataset.is_same].mean()
    alarms = is_called[~found.dataset.is_same].mean()
    roc, det = drawn
    assert roc.lines[-1].get_xydata() == pytest.approx(np.array([[alarms, hits]]))
    assert det.lines[-1].get_xydata() == pytest.approx(norm.ppf([[alarms, 1 - hits]]))


def test_roc_and_det_draw_the_baselines_too(judged: Judged, drawn: list[Any]) -> None:
    charts.roc(judged.found)
    charts.det(judged.found)
    contenders = [judged.found.index, *judged.found.baselines[:2]]
    _chance, *roc, _ = drawn[0].lines
    *det, _ = drawn[1].lines
    assert [line.get_label() for line in roc] == ["index", "colour histogram", "random weights"]
    for contender, line, errors in zip(contenders, roc, det, strict=True):
        assert contender.curve is not None
        assert line.get_xdata().tolist() == contender.curve.false_alarms.tolist()
        assert line.get_ydata().tolist() == contender.curve.hits.tolist()
        inner = (contender.curve.hits > 0.1) & (contender.curve.hits < 0.9)
        misses = norm.ppf(1 - contender.curve.hits[inner])
        assert errors.get_ydata()[inner] == pytest.approx(misses)
        assert np.isfinite(errors.get_xydata()).all()
        area = np.trapezoid(line.get_ydata(), line.get_xdata())
        assert contender.pairs["roc_auc"].value == pytest.approx(area)


def test_reliability_and_risk_are_those_found(judged: Judged, drawn: list[Any]) -> None:
    reliability, risk = judged.found.reliability, judged.found.risk_coverage
    assert reliability is not None
    assert risk.answered is not None
    assert risk.risk_answered is not None
    charts.reliability(reliability)
    charts.risk_coverage(risk)
    first, second = drawn
    is_filled = reliability.share > 0
    points = np.stack([reliability.said, reliability.found], axis=1)[is_filled]
    assert np.asarray(first.collections[0].get_offsets()) == pytest.approx(points)
    assert second.lines[0].get_ydata() == pytest.approx(100 * risk.risk[29:])
    assert second.lines[0].get_xdata() == pytest.approx(100 * risk.coverage[29:])
    point = [[100 * float(str(x.value)) for x in (risk.answered, risk.risk_answered)]]
    assert second.lines[1].get_xydata() == pytest.approx(np.array(point))


def test_twenty_kinds_look_different() -> None:
    looks = {(charts.hue_of(code), charts.shape_of(code)) for code in range(20)}
    assert len(looks) == 20
    assert (charts.hue_of(-1), charts.shape_of(-1)) not in looks


def test_a_chart_has_the_colours_of_the_page_and_a_title_that_is_text() -> None:
    svg = draw("x", "</title><script>", lambda axes: axes.plot([0, 1], color=COLOURS["same"]))
    assert svg.startswith("<svg")
    assert "stroke: var(--same)" in svg
    assert "#0f0f" not in svg
    assert "<title>&lt;/title&gt;&lt;script&gt;</title>" in svg
    assert "<style" not in svg
    assert "xmlns" not in svg
