"""Marking: proposals, answers on disk at once, undo, labels, and the calibration they give."""

import csv
import io
import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import histo_index
from histo_index.api.evaluate import ONLY_RANDOM, read_labelled_pairs
from histo_index.api.index import Index
from histo_index.indexer.format.manifest import CALIBRATION_NAME, MARKS_NAME
from histo_index.indexer.reader import OpenIndex
from histo_index.search.marks.file import append_mark, read_marks
from histo_index.search.marks.record import PairMark
from tests.cli.conftest import Run
from tests.indexer.fakes import files_of
from tests.serve.site import PATIENT, Client, Site, problem, serving


def label_of(client: Client, tile: str) -> str:
    return str(client.json(f"/v1/tiles/{tile}")["columns"]["label"])


def mark(client: Client, count: int) -> list[dict[str, Any]]:
    """Answer proposals by the labels of their tiles."""
    asked: list[dict[str, Any]] = []
    while len(asked) < count:
        for one in client.json("/v1/proposals", params={"count": 10})["proposals"]:
            is_same = label_of(client, one["a"]) == label_of(client, one["b"])
            given = {"proposal": one["proposal"], "answer": "same" if is_same else "different"}
            assert client.post("/v1/marks", json=given).json() == {"stored": 1}
            asked.append(one)
    return asked


def test_marks_calibrate_the_index_from_the_page_and_the_command_line(
    own_site: Site, run: Run
) -> None:
    (own_site.index / CALIBRATION_NAME).unlink()
    with serving(own_site.config()) as client:
        before = client.json("/v1/marks")
        assert [need["found"] for need in before["needs"]] == [0, 0, 0, 0]
        assert [need["least"] for need in before["needs"]] == [20, 5, 5, 4]
        refused = client.post("/v1/calibrate", json={})
        assert problem(refused)["detail"].startswith("the marks: 0 same pairs and 0 different")
        mark(client, 80)
        while not (standing := client.json("/v1/marks"))["is_enough"]:
            assert standing["pairs"] < 400  # proposals are drawn: 80 are mostly enough
            mark(client, 40)
        assert 10 < standing["random"] < standing["pairs"] - 10
        assert standing["steps"][-1]["pairs"] == standing["pairs"]
        answer = client.post("/v1/calibrate", json={}).json()
        assert answer["pairs"] == standing["pairs"]
        assert answer["threshold"]["value"] == standing["steps"][-1]["value"]
        a, b = client.ids(2)
        found = client.json("/v1/pair", params={"a": a, "b": b})
        assert found["threshold"] == answer["threshold"]["value"]
        assert found["threshold_from"].endswith(": marks")
    ran = run("calibrate", "--marks", "-i", own_site.index)
    assert ran.code == 0
    assert f"threshold  {answer['threshold']['value']:.4g} " in ran.out
    opened = OpenIndex(own_site.index)
    judged = read_labelled_pairs(
        opened, pairs=None, labels=None, label=None, group=None, marks=ONLY_RANDOM
    )
    assert (judged.pairs_from, len(judged.is_same)) == ("random marks", standing["random"])
    ran = run("marks", "-i", own_site.index, "--pairs", own_site.folder / "marked.csv")
    assert f"{answer['pairs']} marked pairs, 0 labelled tiles, 0 disagreements" in ran.out
    exported = read_labelled_pairs(
        opened, pairs=own_site.folder / "marked.csv", labels=None, label=None, group=None
    )
    assert len(exported.is_same) == answer["pairs"]


def test_a_mark_is_on_disk_when_it_is_answered_and_can_be_undone(own_site: Site) -> None:
    with serving(own_site.config(user="Ann")) as client:
        asked = mark(client, 10)
        stored = read_marks(own_site.index)
        assert len(stored) == 10
        assert {one.user for one in stored if one} == {"Ann"}
        assert client.post("/v1/marks/undo", json={}).json() == {"undone": 1}
        assert client.json("/v1/marks")["pairs"] < 11
        with serving(own_site.config(user="Bo")) as other:
            assert other.post("/v1/marks/undo", json={}).json() == {"undone": 0}
        rows = list(csv.DictReader(io.StringIO(client.get("/v1/marks.csv").text)))
    assert len({frozenset((one["a"], one["b"])) for one in asked}) == 10
    assert len(rows) == 9
    assert {row["user"] for row in rows} == {"Ann"}
    assert {len(row["image_a"]) for row in rows} == {32}
    assert {row["drawn"] for row in rows} <= {"random", "near"}


def test_a_pair_that_was_undone_can_be_answered_again(own_site: Site) -> None:
    with serving(own_site.config()) as client:
        (asked,) = client.json("/v1/proposals", params={"count": 1})["proposals"]
        (tile,) = client.ids(1)
        for answer in ("same", "different"):
            given = {"proposal": asked["proposal"], "answer": answer}
            assert client.post("/v1/marks", json=given).json() == {"stored": 1}
            client.post("/v1/labels", json={"ids": [tile], "label": "x"})
            if answer == "same":
                # A label is taken back where it was given, not by the undo of pairs.
                assert client.post("/v1/marks/undo", json={}).json() == {"undone": 1}
                assert len(client.json("/v1/labels")["labels"]) == 1
        (row,) = csv.DictReader(io.StringIO(client.get("/v1/marks.csv").text))
    assert row["label"] == "0"


def test_a_second_user_is_asked_again_about_a_fifth(own_site: Site) -> None:
    with serving(own_site.config(user="Ann")) as client:
        first = {frozenset((one["a"], one["b"])) for one in mark(client, 60)}
    with serving(own_site.config(user="Bo")) as client:
        asked = [frozenset((one["a"], one["b"])) for one in mark(client, 100)]
        assert len(set(asked)) == 100
        assert 5 <= sum(one in first for one in asked) <= 40
        standing = client.json("/v1/marks")
        rows = list(csv.DictReader(io.StringIO(client.get("/v1/marks.csv").text)))
    repeated = [row for row in rows if row["drawn"] == "repeat"]
    assert len(repeated) == sum(one in first for one in asked) == standing["answered_by_two"]
    assert {row["user"] for row in repeated} == {"Bo"}


def test_pairs_on_which_users_disagree_are_shown_with_their_answers(own_site: Site) -> None:
    digests = Index(own_site.index).opened.rows["sha256"].to_pylist()

    def answer(a: str, b: str, kind: str, user: str) -> None:
        mark = PairMark(a=a, b=b, answer=kind, drawn="random", selection=1.0, user=user, time="now")
        append_mark(own_site.index, mark)

    for number in (1, 2):
        answer(digests[0], digests[number], "same", "Ann")
        answer(digests[number], digests[0], "different", "<b>Bo")
    answer(digests[0], digests[3], "same", "Ann")
    answer(digests[0], digests[3], "same", "<b>Bo")
    answer(digests[0], "gone", "same", "Ann")
    answer(digests[0], "gone", "different", "Bo")
    with serving(own_site.config()) as client:
        page = client.get("/mark").text
        ids = client.state.current.get().ids
        expected = [(ids.id_of(0), ids.id_of(number)) for number in (2, 1)]
    assert re.findall(r'href="pair\?a=(\w+)&amp;b=(\w+)"', page) == expected
    assert page.count("Ann: <b>same</b>; &lt;b&gt;Bo: <b>different</b>") == 2
    assert "disagree about 3" in page
    assert "The last 2 of 3" in page


def test_marks_of_tiles_that_are_gone_do_not_count_as_enough(own_site: Site) -> None:
    with serving(own_site.config()) as client:
        asked = mark(client, 30)
        row = client.state.current.get().ids.row_of(asked[0]["a"])
        assert row is not None
        index = Index(own_site.index)
        index.remove(names=[list(index)[row]])
        left = sum(asked[0]["a"] not in (one["a"], one["b"]) for one in asked)
        standing = client.json("/v1/marks")
    assert standing["pairs"] == standing["needs"][0]["found"] == left < 30


def test_labels_of_tiles_become_classes_of_a_calibration_on_marks(own_site: Site) -> None:
    with serving(own_site.config()) as client:
        while not client.json("/v1/marks")["is_enough"]:
            mark(client, 40)
        tiles = client.json("/v1/tiles", params={"limit": 48})["tiles"]
        for label in ("fat", "muscle"):
            ids = [tile["id"] for tile in tiles if tile["columns"]["label"] == label]
            client.post("/v1/labels", json={"ids": ids[:1], "label": label})
        found = client.post("/v1/calibrate", json={}).json()
        assert found["classes"] == []
        assert [one for one in found["warnings"] if one.startswith("no class probabilities: 0 cl")]
        for label in ("fat", "muscle"):
            ids = [tile["id"] for tile in tiles if tile["columns"]["label"] == label]
            client.post("/v1/labels", json={"ids": ids, "label": label})
        assert client.post("/v1/calibrate", json={}).json()["classes"] == ["fat", "muscle"]
        (answer,) = client.json("/v1/classify", params={"id": ids[0]})["images"]
        assert [one["class"] for one in answer["classes"]] == ["muscle", "fat"]


def test_a_full_disk_is_said_in_one_line(own_site: Site) -> None:
    with serving(own_site.config()) as client:
        (asked,) = client.json("/v1/proposals", params={"count": 1})["proposals"]
        (own_site.index / MARKS_NAME).mkdir()
        refused = client.post("/v1/marks", json={"proposal": asked["proposal"], "answer": "same"})
    assert refused.status_code == 503
    assert problem(refused)["detail"].startswith("tiles.hx/marks.jsonl: ")


def test_warnings_of_a_calibration_name_no_tile(own_site: Site) -> None:
    index = Index(own_site.index).opened
    tiles = [index.row(row) for row in range(0, len(index.rows), 2)]
    answers = {
        (a["sha256"], b["sha256"]): "same" if a["label"] == b["label"] else "different"
        for a, b in itertools.combinations(tiles, 2)
        if a["group"] != b["group"]
    }
    # a = b and b = c, but a is not c.
    a, b, c = (index.row(row)["sha256"] for row in (1, 21, 41))
    answers |= {(a, b): "same", (b, c): "same", (a, c): "different"}
    for (one, other), answer in answers.items():
        append_mark(
            own_site.index,
            PairMark(
                a=one, b=other, answer=answer, drawn="random", selection=1.0, user=None, time="now"
            ),
        )
    with serving(own_site.config()) as client:
        found = client.post("/v1/calibrate", json={})
    assert "contradicting same pairs" in found.text
    assert PATIENT not in found.text


def test_clients_do_not_choose_what_was_proposed(own_site: Site) -> None:
    with serving(own_site.config()) as client:
        (one,) = client.json("/v1/proposals", params={"count": 1})["proposals"]
        assert set(one) == {"proposal", "a", "b"}
        wrong = client.post("/v1/marks", json={"proposal": "0" * 32, "answer": "same"})
        assert wrong.status_code == 410
        for change in ({"answer": "perhaps"}, {"selection": 1}, {"user": "Bo"}):
            given = {"proposal": one["proposal"], "answer": "same", **change}
            assert client.post("/v1/marks", json=given).status_code == 422
    assert not (own_site.index / MARKS_NAME).exists()


def test_labels_are_stored_shown_and_taken_back(own_site: Site, run: Run) -> None:
    with serving(own_site.config()) as client:
        a, b = client.ids(2)
        text = "=tumour <b>"
        given = {"ids": [a, b], "label": f" {text} "}
        assert client.post("/v1/labels", json=given).json() == {"stored": 2}
        assert client.post("/v1/labels", json={"ids": [b], "label": None}).json() == {"stored": 1}
        (row,) = client.json("/v1/labels")["labels"]
        assert (row["image_id"], row["label"]) == (a, text)
        for label in ("", "  ", "x" * 101):
            assert client.post("/v1/labels", json={"ids": [a], "label": label}).status_code == 422
        missing = client.post("/v1/labels", json={"ids": ["../x"], "label": "x"})
        assert missing.status_code == 404
    path = own_site.folder / "labels.csv"
    assert run("marks", "-i", own_site.index, "--labels", path).code == 0
    ran = run("marks", "-i", own_site.index, "--pairs", own_site.folder / "p.csv", "--labels", path)
    assert (ran.code, (own_site.folder / "p.csv").exists()) == (2, False)
    (exported,) = csv.DictReader(io.StringIO(path.read_text()))
    assert exported["label"] == text
    assert exported["image_id"] in set(Index(own_site.index))


def test_read_only_means_that_nothing_is_written(own_site: Site) -> None:
    before = files_of(own_site.index)
    with serving(own_site.config(is_read_only=True)) as client:
        (tile,) = client.ids(1)
        refused = [
            client.get("/v1/proposals"),
            client.post("/v1/marks", json={"proposal": "0" * 32, "answer": "same"}),
            client.post("/v1/marks/undo", json={}),
            client.post("/v1/labels", json={"ids": [tile], "label": "x"}),
            client.post("/v1/calibrate", json={}),
        ]
        assert [answer.status_code for answer in refused] == [403] * 5
        for answer in refused:
            assert problem(answer)["detail"] == "the server was started with --read-only"
        for path in ("/", f"/search?id={tile}", "/mark", "/v1/marks", "/v1/labels", "/metrics"):
            assert client.get(path).status_code == 200
    assert files_of(own_site.index) == before


@pytest.mark.parametrize("path", ["/v1/marks", "/v1/marks/undo", "/v1/labels", "/v1/calibrate"])
def test_pages_of_others_cannot_mark(client: Client, site: Site, path: str) -> None:
    from tests.serve.site import ORIGIN, TOKEN

    entered = client.ask("GET", "/", params={"token": TOKEN})
    client.forget_cookies()
    cookie = {"Cookie": entered.headers["set-cookie"].partition(";")[0]}
    own = {**cookie, "Origin": ORIGIN, "Sec-Fetch-Site": "same-origin"}
    for headers in (own, {**own, "Origin": "null", "Sec-Fetch-Mode": "navigate"}, cookie):
        answer = client.ask("POST", path, headers=headers, json={})
        assert answer.status_code == 403
    assert not (Path(site.index) / MARKS_NAME).exists()


def test_notes_about_a_calibration_name_no_tile(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(24, 8)) + 4 * np.eye(8)[np.arange(24) % 2]
    names = [f"{PATIENT}-{number}.png" for number in range(24)]
    site = Site(folder=tmp_path)
    opened = histo_index.from_embeddings(names, vectors, site.index, encoder="other").opened
    digests = opened.rows["sha256"].to_pylist()

    def answer(a: int, b: int) -> None:
        kind = "same" if a % 2 == b % 2 else "different"
        mark = PairMark(
            a=digests[a], b=digests[b], answer=kind, drawn="random", selection=1.0, user=None,
            time="now",
        )  # fmt: skip
        append_mark(site.index, mark)

    with serving(site.config()) as client:
        for other in range(1, 22):
            answer(0, other)
        refused = problem(client.post("/v1/calibrate", json={}))["detail"]
        assert refused == "marks: all 21 pairs share one tile; add pairs that do not involve it"
        for number in range(1, 9):
            answer(number, number + 8 + number % 2)
        found = client.post("/v1/calibrate", json={})
        assert "21 of 29 pairs share one tile" in found.json()["warnings"]
        assert PATIENT not in found.text
