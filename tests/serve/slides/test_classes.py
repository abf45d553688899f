"""The probability of a class over a slide: the values of the command, under the same conditions."""

from collections.abc import Iterator
from typing import Final

import numpy as np
import pytest

import histo_index
from histo_index.api.index import Index
from histo_index.api.slides.heatmap import heatmap
from histo_index.serve.slides.heat import COLOURS
from histo_index.slides.overlay.draw import draw_heatmap
from histo_index.slides.reading.info import Bounds, SlideInfo
from histo_index.slides.tiling.grid import Grid
from tests.serve.site import HOSTILE, Client, Site, problem, serving

SLIDES, TILES = 6, 8
TAUGHT: Final = (
    "this slide: 8 labelled tiles of its group took part in the calibration, which knows them; "
    "draw a slide of another group, or pass an example tile instead of --class"
)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """Six slides of six patients; every second tile is of a class; the last has no labels."""
    random = np.random.default_rng(5)
    is_tumour = np.arange(SLIDES * TILES) % 2 == 1
    vectors = random.normal(size=(SLIDES * TILES, 16)) + 6 * np.eye(16)[is_tumour.astype(int)]
    slides = [f"s{number}.svs" for number in range(SLIDES) for _ in range(TILES)]
    ids = [f"{slide}#x={64 * (n % TILES)},y=0,mpp=0.5,size=64" for n, slide in enumerate(slides)]
    labels = [HOSTILE if flag else "stroma" for flag in is_tumour[:-TILES]] + [None] * TILES
    columns = {"slide_id": slides, "label": labels, "patient": [name[:2] for name in slides]}
    path = tmp_path_factory.mktemp("classes") / "tiles.hx"
    made = histo_index.from_embeddings(ids, vectors, path, columns, encoder="other")
    made.calibrate(labels="label", group="patient")
    return made


@pytest.fixture(scope="module")
def client(index: Index) -> Iterator[Client]:
    with serving(Site(folder=index.opened.folder.parent).config()) as found:
        yield found


@pytest.fixture(scope="module")
def ids(client: Client) -> list[str]:
    return [one["id"] for one in client.json("/v1/slides")["slides"]]


def test_values_are_those_of_the_command(client: Client, index: Index, ids: list[str]) -> None:
    expected = heatmap(index, slide="s5.svs", label=HOSTILE)
    found = client.get(f"/v1/slides/{ids[5]}/heatmap", params={"class": HOSTILE}).json()
    assert found["meaning"] == f"probability of {HOSTILE}"
    assert found["limits"] == [0.0, 1.0]
    assert [row[3] for row in found["tiles"]] == expected.values.tolist()
    page = client.get("/slide", params={"slide": ids[5], "class": HOSTILE}).text
    assert HOSTILE not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert "if the tile’s class is among those labelled" in page
    assert "<option selected>&lt;img" in page


def test_a_slide_whose_group_took_part_has_no_probabilities(client: Client, ids: list[str]) -> None:
    found = client.get(f"/v1/slides/{ids[1]}/heatmap", params={"class": "stroma"})
    assert (found.status_code, problem(found)["detail"]) == (422, TAUGHT)
    page = client.get(f"/slide?slide={ids[1]}").text
    assert f"No class probabilities: {TAUGHT}." in page
    assert 'name="class"' not in page
    assert TAUGHT in client.get("/slide", params={"slide": ids[1], "class": "stroma"}).text


def test_a_class_that_is_none_names_the_others(client: Client, ids: list[str]) -> None:
    found = client.get(f"/v1/slides/{ids[5]}/heatmap", params={"class": "fat"})
    assert found.status_code == 422
    assert problem(found)["detail"].startswith("--class fat: is no class of the calibration")


def test_colours_are_those_that_the_command_draws() -> None:
    count = len(COLOURS)
    info = SlideInfo(
        path="", reader="", vendor="", levels=(), scale=None, associated=(), problems=(),
        bounds=Bounds(x=0, y=0, width=count, height=1),
    )  # fmt: skip
    grid = Grid(x=np.arange(count), y=np.zeros(count, np.int64), width=1.0, height=1.0)
    black = np.zeros((1, count, 3), np.uint8)
    drawn = np.asarray(draw_heatmap(black, info, grid, np.arange(count, dtype=float), title="x"))
    expected = [[int(one[at : at + 2], 16) for at in (1, 3, 5)] for one in COLOURS]
    assert np.abs(drawn[0, :count] - 0.55 * np.array(expected)).max() < 3


def test_an_index_of_tile_files_has_no_slides(site: Site) -> None:
    with serving(site.config()) as plain:
        assert plain.json("/v1/slides") == {"slides": [], "total": 0}
        assert "<h1>No slides</h1>" in plain.get("/slides").text
        assert 'href="slides"' not in plain.get("/search").text
