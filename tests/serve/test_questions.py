"""The REST interface gives the answers of the Python interface, under opaque ids."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histo_index.api.index import Index
from tests.serve.site import FORMULA, HOSTILE, PATIENT, Client, Site, draw, image_of, problem


@pytest.fixture(scope="module")
def index(site: Site) -> Index:
    return Index(site.index)


def row_of(client: Client, tile_id: str) -> int:
    row = client.state.current.get().ids.row_of(tile_id)
    assert row is not None
    return row


def test_a_search_finds_what_the_python_interface_finds(client: Client, index: Index) -> None:
    (tile,) = client.ids(1)
    row = row_of(client, tile)
    expected = index.search(list(index)[row], k=7)[0]
    found = client.json("/v1/search", params={"id": tile, "k": 7})
    names = list(index)
    assert [names[row_of(client, hit["id"])] for hit in found["hits"]] == [
        neighbour.image_id for neighbour in expected
    ]
    for hit, neighbour in zip(found["hits"], expected, strict=True):
        assert hit["distance"] == neighbour.distance
        assert hit["verdict"] == str(neighbour.verdict)
        assert hit["probability"] == neighbour.probability
    limit = index.threshold().value
    assert found["threshold"] == limit
    assert limit is not None
    assert found["same"] == sum(neighbour.distance <= limit for neighbour in expected)


def test_an_uploaded_tile_of_the_index_is_that_tile(client: Client, site: Site) -> None:
    path = next(site.tiles.rglob("*.png"))
    found = client.post("/v1/search", files={"image": image_of(path)}, data={"k": "3"}).json()
    row = list(Index(site.index)).index(path.relative_to(site.tiles).as_posix())
    same = client.json(
        "/v1/search", params={"id": client.state.current.get().ids.id_of(row), "k": 3}
    )
    assert found["hits"] == same["hits"]


def test_an_unseen_image_is_encoded_as_the_python_interface_does(
    client: Client, index: Index, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (70, 90, 3), np.uint8)
    path = tmp_path / "unseen.png"
    Image.fromarray(pixels).save(path)
    found = client.post("/v1/search", files={"image": image_of(path)}, data={"k": "4"}).json()
    expected = index.search(path, k=4)[0]
    assert [hit["distance"] for hit in found["hits"]] == pytest.approx(
        [neighbour.distance for neighbour in expected], abs=1e-6
    )
    (upload,) = found["like"]
    again = client.json("/v1/search", params={"id": upload, "k": 4})
    assert again["hits"] == found["hits"]


def test_a_crop_box_searches_with_a_part(client: Client, index: Index, tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    pixels = generator.integers(0, 255, (80, 80, 3), np.uint8)
    path, part = tmp_path / "whole.png", tmp_path / "part.png"
    Image.fromarray(pixels).save(path)
    Image.fromarray(pixels[20:60, 0:40]).save(part)
    data = {"k": "3", "crop": "0,0.25,0.5,0.75"}
    found = client.post("/v1/search", files={"image": image_of(path)}, data=data).json()
    expected = index.search(part, k=3)[0]
    assert [hit["distance"] for hit in found["hits"]] == pytest.approx(
        [neighbour.distance for neighbour in expected], abs=1e-6
    )


@pytest.mark.parametrize("box", ["1,2,3", "0,0,2,1", "0.5,0,0.5,1", "a,b,c,d", "nan,0,1,1"])
def test_a_crop_box_that_is_none_is_refused(client: Client, site: Site, box: str) -> None:
    path = next(site.tiles.rglob("*.png"))
    answer = client.post("/v1/search", files={"image": image_of(path)}, data={"crop": box})
    assert answer.status_code == 422
    assert problem(answer)["detail"].startswith("crop: expected left,top,right,bottom")


def test_tiles_that_are_nearer_to_what_is_not_meant_come_later(
    client: Client, index: Index
) -> None:
    (like, other), (unlike,) = client.ids(2, label="muscle"), client.ids(1, label="fat")
    found = client.json("/v1/search", params={"id": [like, other], "unlike": unlike, "k": 40})
    vectors = index.vectors()
    rows = [row_of(client, one) for one in (like, other, unlike)]
    gaps = [((vectors - vectors[row]) ** 2).sum(axis=1) for row in rows]
    wanted = np.minimum(gaps[0], gaps[1])
    times = np.maximum(1, wanted / np.maximum(gaps[2], 1e-6))
    assert 0 < (times > 1).sum() < len(times)
    order = [row for row in np.argsort(wanted * times, kind="stable") if row not in rows][:40]
    assert [row_of(client, hit["id"]) for hit in found["hits"]] == order
    assert [hit["distance"] for hit in found["hits"]] == pytest.approx(wanted[order], abs=1e-3)
    assert found["same"] is None
    assert found["is_by_distance"] is False


def test_filters_hold_for_every_hit(client: Client) -> None:
    (tile,) = client.ids(1)
    filters = {"column": "label", "operator": "eq", "value": "fat"}
    found = client.json("/v1/search", params={"id": tile, "k": 50, **filters})
    assert {hit["columns"]["label"] for hit in found["hits"]} == {"fat"}
    assert len(found["hits"]) in (5, 6)
    filters = {"column": "remark", "operator": "contains", "value": HOSTILE.upper()}
    assert len(client.json("/v1/search", params={"id": tile, "k": 50, **filters})["hits"]) == 47


def test_tiles_of_the_same_group_can_be_left_out(client: Client) -> None:
    (tile,) = client.ids(1)
    own = client.json(f"/v1/tiles/{tile}")["columns"]["group"]
    found = client.json("/v1/search", params={"id": tile, "k": 50, "exclude_same": "group"})
    groups = {hit["columns"]["group"] for hit in found["hits"]}
    assert own not in groups
    assert len(groups) == 5


def test_tiles_of_the_group_of_any_example_can_be_left_out(client: Client) -> None:
    tiles = client.json("/v1/tiles", params={"limit": 40})["tiles"]
    group = {tile["id"]: tile["columns"]["group"] for tile in tiles}
    a = tiles[0]["id"]
    b = next(tile for tile in group if group[tile] != group[a])
    found = client.json("/v1/search", params={"id": [a, b], "k": 50, "exclude_same": "group"})
    groups = {hit["columns"]["group"] for hit in found["hits"]}
    assert len(groups) == 4
    assert not groups & {group[a], group[b]}


def test_the_group_of_an_upload_can_be_given(client: Client, tmp_path: Path) -> None:
    path = draw(tmp_path / "unseen.png", (64, 64))
    files = {"image": image_of(path)}
    (group,) = {client.json(f"/v1/tiles/{client.ids(1)[0]}")["columns"]["group"]}
    asked = {"k": "50", "exclude_same": "group"}
    refused = client.post("/v1/search", files=files, data=asked)
    assert problem(refused)["detail"] == (
        "exclude_same=group: an example has no such value; pass that of an upload as `own`"
    )
    found = client.post("/v1/search", files=files, data={**asked, "own": group}).json()
    groups = {hit["columns"]["group"] for hit in found["hits"]}
    assert (len(groups), group in groups) == (5, False)
    (upload,) = found["like"]
    several = {"id": [upload, found["hits"][0]["id"]], "exclude_same": "group", "own": group}
    left = client.json("/v1/search", params={**several, "k": 50})["hits"]
    kept = groups - {found["hits"][0]["columns"]["group"]}
    assert {hit["columns"]["group"] for hit in left} == kept
    wrong = client.get("/v1/search", params={**asked, "id": upload, "own": ["a", "b"]})
    assert problem(wrong)["detail"].startswith("own: expected a value for each exclude_same")
    page = client.get("/search", params={"id": upload, "exclude_same": "group"})
    assert page.status_code == 200
    assert "Tiles of the same group are not left out: the group of your image is" in page.text
    page = client.get("/search", params={"id": upload, "exclude_same": "group", "own": group})
    assert "are not left out" not in page.text
    assert f'name="own" list="values" value="{group}"' in page.text


def test_near_duplicates_of_several_examples_are_not_silently_kept(client: Client) -> None:
    asked = {"id": client.ids(2), "copies": "drop"}
    refused = client.get("/v1/search", params=asked)
    assert problem(refused)["detail"] == "copies=drop: works with one example; pass one `id`"
    page = client.get("/search", params=asked)
    assert "Near-duplicates are not left out: that needs a single example." in page.text


def test_a_pair_has_the_verdict_of_the_python_interface(client: Client, index: Index) -> None:
    a, b = client.ids(2)
    names = list(index)
    expected = index.pair(names[row_of(client, a)], names[row_of(client, b)])
    found = client.json("/v1/pair", params={"a": a, "b": b})
    kept = ("distance", "threshold", "probability", "probability_low", "probability_high")
    assert {name: found[name] for name in kept} == {name: getattr(expected, name) for name in kept}
    assert found["verdict"] == str(expected.verdict)
    assert (found["a"]["id"], found["b"]["id"]) == (a, b)
    assert found["a"]["side_um"] == 32.0


def test_two_uploads_are_a_pair(client: Client, index: Index, site: Site) -> None:
    first, second = sorted(site.tiles.rglob("*.png"))[:2]
    files = [("image", image_of(first)), ("image", image_of(second))]
    found = client.post("/v1/pair", files=files).json()
    assert found["distance"] == index.pair(first, second).distance
    refused = client.post("/v1/pair", files=files[:1])
    assert problem(refused)["detail"] == "expected two images or ids, got 1"


def test_a_list_of_pairs_has_a_row_for_each(client: Client) -> None:
    a, b, c = client.ids(3)
    rows = client.post("/v1/pairs", json={"pairs": [[a, b], [a, "nothing"], [b, c]]}).json()
    assert [row["status"] for row in rows["pairs"]] == ["ok", "error", "ok"]
    alone = client.json("/v1/pair", params={"a": b, "b": c})
    assert rows["pairs"][2]["distance"] == alone["distance"]
    assert rows["pairs"][1]["message"] == "there is no such tile or page"


def test_classes_are_those_of_the_python_interface(client: Client, index: Index) -> None:
    tiles = client.ids(3)
    names = list(index)
    expected = index.classify([names[row_of(client, tile)] for tile in tiles])
    found = client.json("/v1/classify", params={"id": tiles})["images"]
    assert [one["id"] for one in found] == tiles
    for one, answer in zip(found, expected, strict=True):
        assert one["problem"] == answer.problem
        assert [entry["class"] for entry in one["classes"]] == [
            chance.label for chance in answer.chances
        ]
        assert [entry["probability"] for entry in one["classes"]] == [
            chance.probability for chance in answer.chances
        ]


def test_a_csv_has_no_formulas(client: Client) -> None:
    (tile,) = client.ids(1)
    found = client.get("/v1/search.csv", params={"id": tile, "k": 5})
    rows = list(csv.DictReader(io.StringIO(found.text)))
    assert [row["formula"] for row in rows] == ["'" + FORMULA] * 5
    assert [row["remark"].startswith(HOSTILE) for row in rows] == [True] * 5
    assert found.headers["content-disposition"].startswith("attachment")
    hits = client.json("/v1/search", params={"id": tile, "k": 5})["hits"]
    assert [float(row["distance"]) for row in rows] == [hit["distance"] for hit in hits]


def test_the_picture_of_a_tile_is_the_tile(client: Client, index: Index, site: Site) -> None:
    (tile,) = client.ids(1)
    path = site.tiles / list(index)[row_of(client, tile)]
    found = client.get(f"/v1/tiles/{tile}/image")
    assert found.headers["content-type"] == "image/png"
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(found.content))), np.asarray(Image.open(path))
    )
    small = client.get(f"/v1/tiles/{tile}/image?size=160")
    assert Image.open(io.BytesIO(small.content)).format == "JPEG"
    assert client.get(f"/v1/tiles/{tile}/image?size=161").status_code == 422


def test_an_answer_of_the_same_state_need_not_be_sent_twice(client: Client) -> None:
    (tile,) = client.ids(1)
    first = client.get(f"/v1/tiles/{tile}")
    tag = first.headers["etag"]
    assert tag.startswith('"1-')
    again = client.get(f"/v1/tiles/{tile}", headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get(f"/v1/tiles/{tile}", headers={"If-None-Match": '"0"'}).status_code == 200


def test_names_are_shown_only_on_request(client: Client, site: Site) -> None:
    from tests.serve.site import serving

    (tile,) = client.ids(1)
    assert PATIENT not in client.get(f"/v1/tiles/{tile}").text
    with serving(site.config(shows_names=True)) as named:
        assert named.json(f"/v1/tiles/{tile}")["columns"]["image_id"].startswith(PATIENT)


def test_the_interface_describes_itself(client: Client) -> None:
    described = client.json("/openapi.json")
    assert {"/v1/search", "/v1/pair", "/v1/pairs", "/v1/classify"} < set(described["paths"])
    assert client.ask("GET", "/openapi.json").status_code == 401


def test_metrics_count_requests_by_route(client: Client) -> None:
    client.ids(1)
    text = client.get("/metrics").text
    assert 'histo_index_requests_total{method="GET",route="/v1/tiles",status="200"}' in text
    assert "histo_index_tiles 48.0" in text
    assert client.ask("GET", "/metrics").status_code == 401
    assert client.ask("GET", "/healthz").json() == {"status": "ok"}
    assert client.ask("GET", "/readyz").json() == {"status": "ok"}
