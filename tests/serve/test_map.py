"""The map as clients get it: points without names, colours of columns that they may see."""

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from histo_index.api.declared.from_embeddings import from_embeddings
from histo_index.api.maps.make import update_map
from histo_index.arrays import Float32
from histo_index.indexer.format.manifest import MAP_NAME
from histo_index.indexer.reader import OpenIndex
from histo_index.search.answers.removal import RemoveConfig, remove
from histo_index.search.maps.file import read_map
from histo_index.search.maps.make import MapConfig, places_of
from histo_index.serve.maps.colours import Codes
from tests.serve.site import PATIENT, TILES, TOKEN, Client, Site, problem, serving
from tests.vectors import unit_vectors

EVERYTHING: Final = "-99,-99,99,99"


def points(client: Client) -> Float32:
    data = client.get("/v1/map/points").content
    return np.frombuffer(data, "<f4").reshape(-1, 2)


def codes(client: Client, column: str) -> Codes:
    return np.frombuffer(client.get(f"/v1/map/colours?column={column}").content, np.uint8)


def tile(client: Client, number: int) -> dict[str, Any]:
    found: dict[str, Any] = client.json(f"/v1/map/points/{number}")
    return found


def test_points_are_those_of_the_stored_map(client: Client, site: Site) -> None:
    index = OpenIndex(site.index)
    stored = read_map(site.index)
    assert stored is not None
    places = places_of(index, stored)
    ids = client.state.current.get().ids
    expected = {
        ids.id_of(int(row)): at for row, at in zip(places.rows, places.points.tolist(), strict=True)
    }
    found = points(client)
    assert found.shape == (TILES, 2)
    assert {tile(client, n)["id"]: at for n, at in enumerate(found.tolist())} == expected
    # Not in the order of paths, which are sorted by patient.
    assert list(expected) != [tile(client, n)["id"] for n in range(TILES)]


def test_a_map_says_what_made_it_and_what_it_can_be_coloured_by(client: Client) -> None:
    found = client.json("/v1/map")
    assert found["method"].startswith("t-SNE, openTSNE ")
    facts = {name: found[name] for name in ("tiles", "points", "placed", "laid_out", "seed")}
    assert facts == {"tiles": TILES, "points": TILES, "placed": 0, "laid_out": TILES, "seed": 0}
    low, high = points(client).min(axis=0), points(client).max(axis=0)
    names = ("left", "bottom", "right", "top")
    assert [found["bounds"][name] for name in names] == pytest.approx([*low, *high])
    assert {one["name"]: one["kind"] for one in found["columns"]} == {
        "width": "number", "height": "number", "label": "category", "group": "category",
        "mpp": "number", "remark": "category", "formula": "category", "novelty": "number",
    }  # fmt: skip


def test_a_colour_is_the_value_of_its_tile(client: Client) -> None:
    legend = client.json("/v1/map/legend?column=label")
    names = [one["value"] for one in legend["categories"]]
    assert sorted(names) == names  # equally many tiles each
    assert [one["tiles"] for one in legend["categories"]] == [6] * 8
    assert (legend["other"], legend["none"], legend["low"]) == (0, 0, None)
    own = codes(client, "label")
    labels = [tile(client, n)["columns"]["label"] for n in range(TILES)]
    assert [names[code] for code in own] == labels
    assert client.json("/v1/map/legend") == legend


def test_novelty_is_the_distance_to_the_nearest_tile(client: Client, site: Site) -> None:
    stored = read_map(site.index)
    assert stored is not None
    legend = client.json("/v1/map/legend?column=novelty")
    low, high = np.percentile(stored.nearest, [1, 99])
    assert [float(legend[end]) for end in ("low", "high")] == pytest.approx([low, high], rel=1e-3)
    ids = client.state.current.get().ids
    rows = np.array([ids.row_of(tile(client, n)["id"]) for n in range(TILES)], np.int64)
    steps = np.clip(np.round(253 * (stored.nearest[rows] - low) / (high - low)), 0, 253)
    assert codes(client, "novelty").tolist() == pytest.approx(steps.tolist(), abs=1)


def test_a_box_lists_the_tiles_in_it(client: Client) -> None:
    at = points(client)
    middle = np.median(at[:, 0])
    box = f"-99,-99,{middle:.6f},99"
    found = client.json(f"/v1/map/tiles?box={box}&limit=500")
    inside = np.flatnonzero(at[:, 0] <= np.float32(f"{middle:.6f}"))
    assert found["count"] == len(inside)
    assert found["tiles"] == [tile(client, int(n)) for n in inside]
    few = client.json(f"/v1/map/tiles?box={EVERYTHING}&limit=5")
    assert (few["count"], len(few["tiles"])) == (TILES, 5)


@pytest.mark.parametrize("box", ["", "1,2,3", "a,b,c,d", "nan,0,1,1", "0,0,inf,1", "1,0,0,1"])
def test_what_is_no_box_is_refused(client: Client, box: str) -> None:
    found = problem(client.get("/v1/map/tiles", params={"box": box}))
    assert (found["status"], found["detail"]) == (422, "box: expected left,bottom,right,top")


def test_a_point_of_another_state_is_refused(client: Client) -> None:
    tag = client.get("/v1/map/points").headers["etag"]
    assert client.get("/v1/map/colours?column=label").headers["etag"] == tag
    assert client.get("/v1/map/points/0", headers={"If-Match": tag}).status_code == 200
    other = problem(client.get("/v1/map/points/0", headers={"If-Match": '"other"'}))
    assert (other["status"], other["detail"]) == (
        412, "the index or its map has changed; load the page again",
    )  # fmt: skip
    assert problem(client.get(f"/v1/map/points/{TILES}"))["status"] == 404


def test_names_are_colours_only_where_they_are_shown(site: Site) -> None:
    with serving(site.config(shows_names=True)) as client:
        columns = [one["name"] for one in client.json("/v1/map")["columns"]]
        assert {"image_id", "path"} < set(columns)
        assert "patient" not in columns
        legend = client.json("/v1/map/legend?column=path")
    assert len(legend["categories"]) == 12
    assert legend["other"] == TILES - 12


def test_the_server_follows_the_map_and_the_index(own_site: Site) -> None:
    with serving(own_site.config()) as client:
        first, tag = points(client), client.get("/v1/map").headers["etag"]
        update_map(own_site.index, MapConfig(seed=7), overwrite=True)
        assert client.get("/v1/map").headers["etag"] != tag
        assert np.abs(points(client) - first).max() > 0.1
        name = OpenIndex(own_site.index).rows["image_id"][0].as_py()
        remove(OpenIndex(own_site.index), RemoveConfig(names=[name]))
        assert len(points(client)) == TILES - 1
        (own_site.index / MAP_NAME).write_bytes(b"PAR1 damaged")
        damaged = problem(client.get("/v1/map"))
        assert damaged["status"] == 503
        assert damaged["detail"].startswith("tiles.hx/map.parquet: damaged")
        assert "map.parquet: damaged" in client.get("/map").text
        (own_site.index / MAP_NAME).unlink()
        none = problem(client.get("/v1/map/points"))
        detail = "the index has no map; run `histo-index map`"
        assert (none["status"], none["detail"]) == (404, detail)
        assert "<code>histo-index map -i tiles.hx</code>" in client.get("/map").text


def test_the_page_says_in_a_table_what_the_picture_shows(client: Client) -> None:
    page = client.get("/map").text
    rows = page.partition("<tbody>")[2].partition("</tbody>")[0].split("<tr>")[1:]
    counts = [int(row.partition('class="n">')[2].partition("<")[0]) for row in rows]
    assert sum(counts) == TILES
    assert counts == sorted(counts, reverse=True)
    # The tiles of an area are those that the table counts.
    query = rows[0].partition('href="map?')[2].partition("#")[0].replace("&amp;", "&")
    chosen = client.get(f"/map?{query}").text
    assert f"{counts[0]} tiles selected" in chosen
    assert chosen.count('aria-label="search from tile ') == counts[0]
    assert "Select tiles to label" in chosen


def test_a_read_only_page_offers_no_labels(site: Site) -> None:
    with serving(site.config(is_read_only=True)) as client:
        page = client.get(f"/map?box={EVERYTHING}").text
    assert "48 tiles selected" in page
    assert "data-labels" not in page
    assert "label.js" not in page


def test_no_answer_names_a_patient(client: Client) -> None:
    for path in ("/map", f"/map?box={EVERYTHING}", "/v1/map", "/v1/map/points/0"):
        assert PATIENT not in client.get(path).text
    for path in ("/v1/map/points", "/v1/map/colours?column=group"):
        assert PATIENT.encode() not in client.get(path).content
    assert client.ask("GET", "/v1/map/points").status_code == 401
    assert TOKEN not in client.get("/map").text


@pytest.fixture(scope="module")
def columns(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Serve an index with a column of each kind."""
    count, folder = 40, tmp_path_factory.mktemp("columns")
    day = datetime.date(2020, 1, 1)
    metadata = {
        "many": [f"v{n % 20:02}" for n in range(count)],
        "some": [None if n < 4 else "x" for n in range(count)],
        "flag": [n % 4 == 0 for n in range(count)],
        "age": [None if n == 0 else 10.0 * n for n in range(count)],
        "taken": [day + datetime.timedelta(days=n) for n in range(count)],
        "novelty": ["mine"] * count,
        "secret": ["no"] * count,
    }
    names = [f"{n}.png" for n in range(count)]
    from_embeddings(
        names, unit_vectors(count, 16), folder / "x.hx", metadata, private=["secret"]
    )  # fmt: skip
    update_map(folder / "x.hx")
    with serving(Site(folder=folder).config(index=folder / "x.hx")) as found:
        yield found


def test_columns_of_every_kind_have_colours(columns: Client) -> None:
    kinds = {one["name"]: one["kind"] for one in columns.json("/v1/map")["columns"]}
    assert kinds == {
        "width": "number", "height": "number", "many": "category", "some": "category",
        "flag": "category", "age": "number", "taken": "number", "tile_novelty": "category",
        "novelty": "number",
    }  # fmt: skip

    def legend(column: str) -> dict[str, Any]:
        found: dict[str, Any] = columns.json(f"/v1/map/legend?column={column}")
        return found

    many = legend("many")
    assert [one["value"] for one in many["categories"]] == [f"v{n:02}" for n in range(12)]
    assert (many["other"], many["none"]) == (16, 0)
    assert sorted(codes(columns, "many").tolist()) == sorted([*range(12), *range(12), *[254] * 16])
    some = legend("some")
    assert (some["categories"], some["none"]) == ([{"value": "x", "tiles": 36}], 4)
    assert [one["value"] for one in legend("flag")["categories"]] == ["false", "true"]
    age = legend("age")
    assert (age["low"], age["high"], age["none"]) == ("13.8", "386.2", 1)
    taken = legend("taken")
    assert (taken["low"], taken["high"]) == ("2020-01-01", "2020-02-09")
    assert legend("tile_novelty")["categories"] == [{"value": "mine", "tiles": 40}]


def test_without_a_label_tiles_are_coloured_by_novelty(columns: Client) -> None:
    assert columns.json("/v1/map/legend")["column"] == "novelty"
    assert "% of the scale" in columns.get("/map").text


def test_an_index_folder_may_be_anywhere(columns: Client) -> None:
    folder = Path(columns.state.config.index)
    assert str(folder) not in columns.get("/map").text
