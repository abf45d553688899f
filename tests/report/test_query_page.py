"""The reports of a pair and of a search show the answer, and of its data only what it may."""

import numpy as np
import pytest

from histo_index.report.pictures import Pictures
from histo_index.report.query_page import Query, pair_page, search_page
from histo_index.search.answers.neighbours import add_verdicts, neighbours_of
from histo_index.search.answers.pair import PairAnswer, answer_pair
from histo_index.search.calibration.threshold import Threshold
from histo_index.search.inputs.resolve import Located
from histo_index.search.neighbours.nearest import nearest_rows
from tests.report.conftest import Judged
from tests.report.reading import Page


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
    near = [neighbour.distance for image in queries for neighbour in image.neighbours]
    assert page.values["neighbour"] == near
    assert f"here the distance is {answer.distance:.4g}; the threshold is" in page.text
    assert len([tag for tag, _ in page.elements if tag == "img"]) == 2 + sum(
        neighbour.image_id != judged.names[0] for image in queries for neighbour in image.neighbours
    )


def test_names_and_folders_stay_out_unless_asked_for(
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
