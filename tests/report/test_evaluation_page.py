"""The report of an evaluation shows its figures, and of its data only what it may."""

import base64
import io
import re
from dataclasses import replace
from typing import Final

import numpy as np
import pytest
from PIL import Image

from histo_index.commands.answers.metrics import describe_evaluation
from histo_index.report.evaluation_page import evaluation_page
from histo_index.report.pictures import Pictures
from histo_index.search.bootstrap import Estimate
from histo_index.search.evaluation.examples import confused_of
from histo_index.search.evaluation.result import Evaluation
from tests.report.conftest import KINDS, PATIENT, Judged
from tests.report.reading import Page

# Elements of our own and of matplotlib; data can add none.
ELEMENTS: Final = {
    "a", "b", "body", "br", "clippath", "code", "data", "dd", "defs", "details", "div", "dl",
    "dt", "figcaption", "figure", "g", "h1", "h2", "h3", "head", "header", "html", "img",
    "li", "link", "main", "meta", "p", "path", "rect", "section", "span", "style", "summary",
    "svg", "table", "tbody", "td", "text", "th", "thead", "title", "tr", "ul", "use"
}  # fmt: skip


@pytest.fixture(scope="module")
def html(judged: Judged) -> str:
    return evaluation_page(judged.index, judged.found, Pictures(judged.tiles))


@pytest.fixture(scope="module")
def named(judged: Judged) -> str:
    return evaluation_page(judged.index, judged.found, Pictures(judged.tiles), names=True)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_every_figure_of_the_evaluation_is_on_the_page(judged: Judged, page: Page) -> None:
    found = judged.found
    for contender in (found.index, *found.baselines):
        for kind, figures in {"pairs": contender.pairs, **contender.retrieval}.items():
            for name, figure in figures.items():
                key = f"{contender.name}.{kind}.{name}"
                if figure.value is None:
                    assert page.figures[key] == ["–"]
                    continue
                assert set(page.values[key]) == {figure.value}, key
                assert set(page.figures[key]) == {f"{figure.value:.3f}"}, key
                assert f"({figure.low:.3f}…{figure.high:.3f})" in page.text
        for name, lead in contender.lead.items():
            assert page.values[f"lead.{contender.name}.{name}"] == [lead.value]
    assert page.values["threshold"] == [found.threshold.value]
    assert page.values["pairs"] == [len(found.distances)]
    assert page.values["same"] == [found.dataset.is_same.sum()]
    assert page.values["tiles"] == [len(found.dataset.rows)]
    assert page.values["groups"] == [8]
    assert page.figures["headline"] == [found.headline]


def test_tables_and_pairs_are_those_of_the_evaluation(judged: Judged, page: Page) -> None:
    found = judged.found
    assert found.confusion is not None
    for row, counts in enumerate(found.confusion.tolist()):
        for column, count in enumerate(counts):
            shown = page.figures[f"confusion.{row}.{column}"]
            assert shown == [str(count) if count else "·"]
    links = {at["href"][1:] for tag, at in page.elements if tag == "a" and "href" in at}
    off_diagonal = np.argwhere(found.confusion * (1 - np.eye(len(found.confusion), dtype=int)))
    assert links == {f"confused-{row}-{column}" for row, column in off_diagonal}
    assert links == {at["id"] for _, at in page.elements if at.get("class") == "cell"}
    distances = [page.values[f"wrong.{number}"][0] for number in range(len(found.wrong_pairs))]
    assert distances == [wrong.distance for wrong in found.wrong_pairs]
    assert page.values["leakage.identical"] == [found.leakage.identical]
    assert page.values["leakage.shared"] == [found.leakage.shared_tiles]
    assert found.risk_coverage.answered is not None
    assert page.values["risk.answered"] == [found.risk_coverage.answered.value]
    assert all(line in page.text for line in found.warnings)


@pytest.fixture(scope="module")
def silent(judged: Judged) -> Evaluation:
    """An evaluation whose calibration answers nothing."""
    none, unknown = (Estimate(value=value, low=None, high=None) for value in (0.0, None))
    found = judged.found
    return replace(
        found, risk_coverage=replace(found.risk_coverage, answered=none, risk_answered=unknown)
    )


@pytest.fixture(scope="module")
def other_page(judged: Judged, silent: Evaluation) -> Page:
    """The page of one that answers nothing, of groups of one tile each and no duplicates."""
    names = judged.found.dataset.names
    alone = replace(judged.found.dataset, group_names=names, groups=np.arange(len(names)))
    leakage = replace(
        judged.found.leakage, identical=0, near=0, shared_tiles=3, calibration_duplicates=0
    )
    found = replace(silent, dataset=alone, leakage=leakage)
    return Page(evaluation_page(judged.index, found, Pictures(judged.tiles)))


def test_duplicates_that_were_found_are_a_warning_and_one_is_no_plural(
    judged: Judged, other_page: Page
) -> None:
    leakage = replace(
        judged.found.leakage, identical=1, near=1, shared_tiles=0, calibration_duplicates=0
    )
    found = replace(judged.found, leakage=leakage)
    page = Page(evaluation_page(judged.index, found, Pictures(judged.tiles)))
    assert page.figures["leakage.identical"] == ["1 identical pair"]
    assert page.figures["leakage.near"] == ["1 nearly identical pair"]
    assert page.figures["groups"] == ["8 groups"]
    warning, shared = "Duplicates across groups make", "calibration looks better than it is"
    assert warning in page.text
    assert shared not in page.text
    assert warning not in other_page.text
    assert shared in other_page.text


def test_charts_have_text_alternatives(judged: Judged, html: str) -> None:
    titles = re.findall(r"<svg[^>]*role=\"img\"[^>]*><title>(.*?)</title>", html)
    spoken = " ".join(titles)
    area, limit = judged.found.index.pairs["roc_auc"].value, judged.found.threshold.value
    for start in ("Histogram", "ROC", "Detection error", "Reliability", "Of all answers", "Map"):
        assert start in spoken
    assert f"area {area:.3f}" in spoken
    assert f"the threshold is {limit:.4g}" in spoken


def test_a_calibration_that_answers_nothing_is_described_without_figures(
    silent: Evaluation, other_page: Page
) -> None:
    assert "With --unsure none of the pairs is answered." in other_page.text
    assert "risk.wrong" not in other_page.figures
    last = describe_evaluation(silent).splitlines()[-1]
    assert last == "With --unsure none of the pairs is answered."


def test_groups_of_one_tile_each_are_no_colours_of_a_map(page: Page, other_page: Page) -> None:
    assert "By group" in page.text
    assert "By class" in other_page.text
    assert "By group" not in other_page.text


def test_hostile_labels_and_names_are_text(judged: Judged, named: str) -> None:
    page = Page(named)
    assert {tag for tag, _ in page.elements} <= ELEMENTS
    assert {name for _, attributes in page.elements for name in attributes if name[:2] == "on"} == (
        set()
    )
    for kind in KINDS.values():
        assert kind in page.text
    wrong = judged.found.wrong_pairs[0]
    assert judged.names[wrong.tile_a] in page.text
    assert judged.names[wrong.tile_b] in page.text


def test_names_and_folders_are_left_out_by_default(judged: Judged, html: str, named: str) -> None:
    for secret in (PATIENT, ".png", str(judged.tiles.parent), "private folder"):
        assert secret not in html
    assert f"{PATIENT} patient-3" in named
    assert str(judged.tiles.parent) not in named


def test_the_page_needs_nothing_but_itself(page: Page, html: str) -> None:
    addresses = [
        value
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in ("src", "href", "xlink:href", "srcset", "data", "poster", "action")
    ]
    assert {address.split(",")[0][:5] for address in addresses} <= {"data:"} | {
        address[:5] for address in addresses if address.startswith("#")
    }
    assert "http" not in html.replace("http-equiv", "")
    assert "default-src 'none'" in html
    assert "@import" not in html
    assert set(re.findall(r"url\((.)", html)) <= {"#"}


def test_tiles_are_pictures_with_words(page: Page) -> None:
    images = [attributes for tag, attributes in page.elements if tag == "img"]
    assert len(images) > 30
    for image in images:
        assert image["alt"].startswith("tile of class ")
        data = base64.b64decode(image["src"].removeprefix("data:image/jpeg;base64,"))
        with Image.open(io.BytesIO(data)) as picture:
            assert picture.size == (16, 12)


def test_confused_tiles_are_those_of_the_cell(judged: Judged) -> None:
    found = judged.found
    cells = confused_of(found)
    ranking, labels = found.ranking, found.dataset.labels
    assert ranking is not None
    assert found.confusion is not None
    assert cells
    for (own, other), pairs in cells.items():
        assert own != other
        assert len(pairs) == min(6, found.confusion[own, other])
        assert [gap for *_, gap in pairs] == sorted(gap for *_, gap in pairs)
        for query, neighbour, gap in pairs:
            (place,) = np.flatnonzero(ranking.queries == query)
            assert ranking.neighbours[place, 0] == neighbour
            assert ranking.distances[place, 0] == np.float32(gap)
            assert (labels[query], labels[neighbour]) == (own, other)


def test_missing_tiles_are_marked_and_counted(judged: Judged) -> None:
    pictures = Pictures(judged.tiles / "nowhere")
    page = Page(evaluation_page(judged.index, judged.found, pictures))
    assert not [tag for tag, _ in page.elements if tag == "img"]
    assert "cannot be read" in page.text
    shown = {strip.query for strip in judged.found.strips}
    shown |= {row for strip in judged.found.strips for row in strip.neighbours}
    shown |= {tile for wrong in judged.found.wrong_pairs for tile in (wrong.tile_a, wrong.tile_b)}
    shown |= {tile for pairs in confused_of(judged.found).values() for p in pairs for tile in p[:2]}
    assert page.figures["missing"][0].startswith(f"{len(shown)} of the tiles could not be read")


def test_ids_are_there_once(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert ids
    assert len(ids) == len(set(ids))


def test_equal_evaluations_render_equal_pages(judged: Judged, html: str) -> None:
    assert evaluation_page(judged.index, judged.found, Pictures(judged.tiles)) == html
