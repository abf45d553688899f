"""A server whose index is searched in parts: a partial answer is refused or labelled."""

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager

from histo_index.api.index import Index
from histo_index.cluster.searching.ray_search import ShardedSearch
from tests.cluster.fake_ray import FakeRay
from tests.serve.site import BEARER, Client, Site, problem, serving

TILES, PARTS = 48, 4
_PAGE = {"headers": {**BEARER, "accept": "text/html"}}


@contextmanager
def divided(site: Site, ray: FakeRay, *, allow_partial: bool = False) -> Iterator[Client]:
    """Serve an index in four parts."""

    def divide(index: Index) -> ShardedSearch:
        opened = index.opened
        search = ShardedSearch(
            ray, opened.folder, opened.manifest.generation, rows=len(opened), parts=PARTS,
            allow_partial=allow_partial,
        )  # fmt: skip
        opened.search_by(search)
        return search

    with serving(site.config(divide=divide)) as client:
        yield client


def test_answers_are_those_of_one_index(site: Site, client: Client) -> None:
    (tile,) = client.ids(1)
    asked = {"id": tile, "k": 20}
    alone = client.json("/v1/search", params=asked)
    assert alone["parts"] is None
    with divided(site, FakeRay()) as parts:
        assert parts.json("/v1/search", params=asked) == alone


def test_partial_answers_are_refused(site: Site) -> None:
    ray = FakeRay()
    with divided(site, ray) as client:
        (tile,) = client.ids(1)
        ray.lost.add(2)
        found = client.get("/v1/search", params={"id": tile})
        assert (found.status_code, found.headers["retry-after"]) == (503, "30")
        assert "only 3 of 4 parts of the index answered" in problem(found)["detail"]
        page = client.ask("GET", "/search", params={"id": tile}, **_PAGE)
        assert page.status_code == 503
        assert "only 3 of 4 parts" in page.text
        ray.lost.clear()  # Ray has started it again
        assert client.json("/v1/search", params={"id": tile, "k": 100})["parts"] is None


def test_allowed_partial_answers_are_labelled_everywhere(site: Site) -> None:
    ray = FakeRay()
    with divided(site, ray, allow_partial=True) as client:
        a, b = client.ids(2)
        ray.lost.add(2)
        found = client.json("/v1/search", params={"id": a, "k": TILES})
        assert found["parts"] == "3 of 4"
        # The lost rows, 24 to 35, are missing; so is the query itself, unless it is one of them.
        assert len(found["hits"]) in (TILES - TILES // PARTS - 1, TILES - TILES // PARTS)
        assert client.json("/v1/search", params={"id": [a, b], "k": 5})["parts"] == "3 of 4"
        table = client.get("/v1/search.csv", params={"id": a}).text
        assert {row["parts"] for row in csv.DictReader(io.StringIO(table))} == {"3 of 4"}
        page = client.ask("GET", "/search", params={"id": a}, **_PAGE)
        assert "Only 3 of 4 parts of the index answered:" in page.text
        ray.lost.clear()
        assert "parts" not in client.get("/v1/search.csv", params={"id": a}).text.split("\n")[0]
        page = client.ask("GET", "/search", params={"id": a}, **_PAGE)
        assert "parts of the index answered" not in page.text


def test_a_new_generation_is_divided_again(own_site: Site) -> None:
    ray = FakeRay()
    with divided(own_site, ray) as client:
        kept, removed = client.ids(2)
        row = client.state.current.get().ids.row_of(removed)
        assert row is not None
        index = Index(own_site.index)
        index.remove(names=[list(index)[row]])
        found = client.json("/v1/search", params={"id": kept, "k": TILES})
        assert len(found["hits"]) == TILES - 2
        assert ray.made == 2 * PARTS
