"""The reports of a pair and of a search show the answer, and of its data only what it may."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import ImageDraw

from histo_index.report.html import brief, percent
from histo_index.report.montage import draw_pages
from histo_index.report.pictures import Pictures
from histo_index.report.query_page import Query, pair_page, search_page
from histo_index.search.answers.neighbours import Nearest, add_verdicts, neighbours_of
from histo_index.search.answers.pair import PairAnswer, answer_pair
from histo_index.search.answers.searching import SearchOptions, require_answers, search
from histo_index.search.calibration.threshold import Threshold, Verdict
from histo_index.search.classification.answer import ClassAnswer, Classifier
from histo_index.search.inputs.resolve import Located
from histo_index.search.neighbours.nearest import nearest_rows
from tests.report.conftest import Judged
from tests.report.reading import Page
from tests.search.classes import TILES


@pytest.fixture(scope="module")
def threshold(judged: Judged) -> Threshold:
    return Threshold.choose(None, None, judged.calibration)


@pytest.fixture(scope="module")
def queries(judged: Judged, threshold: Threshold) -> list[Query]:
    vectors = judged.index.vectors(np.array([1, 2]))
    rows = nearest_rows(judged.index, vectors, k=4, own_rows=[1, 2])
    found = neighbours_of(judged.index, rows)
    return [
        Query(
            name=str(judged.tiles / judged.names[row]),
            file=judged.tiles / judged.names[row],
            neighbours=add_verdicts(neighbours, threshold, is_far=False),
        )
        for row, neighbours in zip((1, 2), found, strict=True)
    ]


def answer_of(judged: Judged, threshold: Threshold, *, is_far: bool = False) -> PairAnswer:
    first, second = (
        Located(name=str(judged.tiles / judged.names[row]), vector=vector, row=row)
        for row, vector in zip((1, 2), judged.index.vectors(np.array([1, 2])), strict=True)
    )
    return answer_pair(first, second, threshold, far=[first] if is_far else [])


def test_a_pair_is_shown_with_its_distance_and_neighbours(
    judged: Judged, threshold: Threshold, queries: list[Query]
) -> None:
    answer = answer_of(judged, threshold)
    html = pair_page(judged.index, answer, queries, judged.calibration, Pictures(judged.tiles))
    page = Page(html)
    assert page.figures["verdict"] == [answer.verdict.value.capitalize()]
    assert page.values["distance"] == [answer.distance]
    assert page.values["threshold"] == [answer.threshold]
    assert page.values["probability"] == [answer.probability]
    assert ", if 50 % of such pairs are." in page.text
    near = [neighbour.distance for image in queries for neighbour in image.neighbours]
    assert page.values["neighbour"] == near
    assert f"here the distance is {answer.distance:.4g}; the threshold is" in page.text
    assert len([tag for tag, _ in page.elements if tag == "img"]) == 2 + sum(
        neighbour.image_id != judged.names[0] for image in queries for neighbour in image.neighbours
    )


def test_names_and_folders_are_left_out_by_default(
    judged: Judged, threshold: Threshold, queries: list[Query]
) -> None:
    answer = answer_of(judged, Threshold(
        value=threshold.value, origin=threshold.origin, calibration=threshold.calibration,
        answers_unsure=True,
    ), is_far=True)  # fmt: skip
    assert judged.names[1] in str(answer.unsure_because)
    for names in (False, True):
        pictures = Pictures(judged.tiles)
        for html in (
            pair_page(judged.index, answer, queries, judged.calibration, pictures, names=names),
            search_page(judged.index, queries, threshold, pictures, names=names),
        ):
            page = Page(html)
            assert (judged.names[1] in page.text) == names
            assert str(judged.tiles.parent) not in html
            assert "script" not in {tag for tag, _ in page.elements}
            assert str(queries[0].neighbours[0].metadata["label"]) in page.text
    assert (
        "Unsure: unlike everything in the index"
        in Page(
            pair_page(judged.index, answer, queries, judged.calibration, Pictures(judged.tiles))
        ).text
    )


def test_without_a_calibration_there_is_no_chart_and_no_probability(
    judged: Judged, queries: list[Query]
) -> None:
    answer = answer_of(judged, Threshold.choose(0.4, None))
    html = pair_page(judged.index, answer, queries, None, Pictures(judged.tiles))
    page = Page(html)
    assert "svg" not in {tag for tag, _ in page.elements}
    assert "probability" not in page.values
    assert page.values["threshold"] == [0.4]


def test_a_search_shows_each_image_and_its_neighbours(
    judged: Judged, threshold: Threshold, queries: list[Query]
) -> None:
    page = Page(search_page(judged.index, queries, threshold, Pictures(judged.tiles)))
    near = [neighbour.distance for image in queries for neighbour in image.neighbours]
    assert page.values["neighbour"] == near
    assert page.text.count("Histogram of the calibration's distances; here 4 distances") == 2
    gone = [Query(name="gone.png", file=None, neighbours=[])]
    none = Page(search_page(judged.index, gone, threshold, Pictures(judged.tiles)))
    assert "No tile matches." in none.text
    assert "cannot be read" in none.text


def test_every_picture_opens_large_without_a_script(
    judged: Judged, threshold: Threshold, queries: list[Query]
) -> None:
    page = Page(search_page(judged.index, queries, threshold, Pictures(judged.tiles)))
    tags = [tag for tag, _ in page.elements]
    assert tags.count("img") == tags.count("summary") - len(page_folds(page))
    assert [a["name"] for tag, a in page.elements if a.get("class") == "zoom"] == ["zoom"] * (
        tags.count("img")
    )


def page_folds(page: Page) -> list[dict[str, str]]:
    return [a for tag, a in page.elements if tag == "details" and a.get("class") == "fold"]


def test_provenance_is_folded_and_names_no_threshold_that_is_not_used(
    judged: Judged, threshold: Threshold, queries: list[Query]
) -> None:
    page = Page(search_page(judged.index, queries, threshold, Pictures(judged.tiles)))
    folds = page_folds(page)
    assert len(folds) == 3
    assert all("open" not in fold for fold in folds)
    assert "chosen for tests" not in page.text
    assert "diffused threshold" not in page.text
    assert threshold.origin in page.text


def test_a_neighbour_shows_its_verdict_without_a_probability(
    judged: Judged, queries: list[Query]
) -> None:
    neighbour = replace(
        queries[0].neighbours[0], verdict=Verdict.SAME, probability=None,
        probability_low=None, probability_high=None,
    )  # fmt: skip
    one = [replace(queries[0], neighbours=[neighbour])]
    page = Page(search_page(judged.index, one, Threshold.choose(0.4, None), Pictures(judged.tiles)))
    assert "\nsame\n" in page.text or ">same" in page.source


@pytest.fixture(scope="module")
def classified(judged: Judged, threshold: Threshold) -> list[Query]:
    """Two tiles with all their neighbours and the classes of the calibration."""
    assert judged.calibration.classes is not None
    images = [
        Located(name=judged.names[row], vector=vector, row=row)
        for row, vector in zip((1, 2), judged.index.vectors(np.array([1, 2])), strict=True)
    ]
    found = require_answers(
        search(
            judged.index, images, threshold, SearchOptions(k=TILES),
            classifier=Classifier(judged.index, judged.calibration.classes),
        )
    )  # fmt: skip
    return [
        Query(name=image.name, file=None, neighbours=neighbours)
        for image, neighbours in zip(images, found, strict=True)
    ]


def classes_of(query: Query) -> ClassAnswer:
    assert isinstance(query.neighbours, Nearest)
    assert query.neighbours.classes is not None
    return query.neighbours.classes


def test_classes_stand_below_the_neighbours_with_their_condition(
    judged: Judged, threshold: Threshold, classified: list[Query]
) -> None:
    chances = [chance for query in classified for chance in classes_of(query).chances]
    near = [neighbour for query in classified for neighbour in query.neighbours]
    pictures = Pictures(judged.tiles)
    for html in (
        search_page(judged.index, classified, threshold, pictures),
        pair_page(
            judged.index, answer_of(judged, threshold), classified, judged.calibration, pictures
        ),
    ):
        page = Page(html)
        assert page.values["class"] == [chance.probability for chance in chances]
        assert page.figures["class"] == [percent(chance.probability) for chance in chances]
        assert page.values["chance"] == [
            neighbour.probability for neighbour in near if neighbour.probability is not None
        ]
        assert page.text.count("if its class is among those labelled here") == 2
        assert "Unlike everything labelled here" not in page.text


def test_what_limits_the_classes_is_on_the_page(
    judged: Judged, threshold: Threshold, classified: list[Query]
) -> None:
    def text_of(answer: ClassAnswer) -> str:
        near = Nearest(classified[0].neighbours, classes=answer)
        queries = [replace(classified[0], neighbours=near)]
        return Page(search_page(judged.index, queries, threshold, Pictures(judged.tiles))).text

    known = classes_of(classified[0])
    novel = text_of(replace(known, is_novel=True, detected=0.25, unscored=["<rare>"]))
    assert "Unlike everything labelled here. This finds 25 % of the tiles of a class" in novel
    assert "Not scored, labelled in one group only: <rare>." in novel
    none = text_of(ClassAnswer(problem="calibrate <again>"))
    assert "No class probabilities: calibrate <again>." in none
    assert "among those labelled here" not in none
    (chance, *_) = known.chances
    ends = text_of(replace(known, chances=[replace(chance, low=0.0002, high=0.75)]))
    assert "<0.1 %…75 %" in ends


def test_the_class_table_fits_a_narrow_screen(
    judged: Judged, threshold: Threshold, classified: list[Query]
) -> None:
    (chance, *_) = classes_of(classified[0]).chances
    long = ClassAnswer(chances=[replace(chance, label="high_grade")])
    queries = [replace(classified[0], neighbours=Nearest([], classes=long))]
    html = search_page(judged.index, queries, threshold, Pictures(judged.tiles))
    # Scrolled by itself if need be, and its names may be broken.
    assert '<div class="wide"><table class="classes">' in html
    assert "<th>high_<wbr>grade</th>" in html


def test_a_montage_names_class_verdict_and_probability(
    judged: Judged, classified: list[Query], monkeypatch: pytest.MonkeyPatch
) -> None:
    texts: list[str] = []
    monkeypatch.setattr(ImageDraw.ImageDraw, "text", lambda _, at, text, **rest: texts.append(text))
    (query, _), answer = classified, classes_of(classified[0])
    near = [n for n in query.neighbours if n.probability is not None][:1]
    own = [n for n in query.neighbours if n.probability is None][:1]
    odd = Nearest([*near, *own], classes=replace(answer, is_novel=True))
    odd[:] = [replace(n, label=label) for n, label in zip(odd, ("near", "own"), strict=True)]
    (_,) = draw_pages([("query.png", None)], [odd], judged.tiles)
    assert texts[:2] == ["query", "query.png"]
    said = answer.chances[0]
    assert f"{100 * said.probability:.0f} % " in " ".join(texts)
    assert "unlike all labelled" in texts
    assert f"near {100 * float(str(near[0].probability)):.0f} %" in texts
    assert "own" in texts
    assert texts.count(Verdict.SAME.value) + texts.count(Verdict.DIFFERENT.value) == 2
    assert f"{near[0].rank}.  distance {near[0].distance:.4f}" in texts


def test_long_names_are_cut_in_the_middle() -> None:
    name = "osteosarcoma-P9-B12-15791-34183-training-set-of-2019-x0-y0.jpg"
    assert brief(name) == "osteosarcoma-P…ining-set-of-2019-x0-y0.jpg"
    assert len(brief(name)) == 42
    assert brief("short.png") == "short.png"
