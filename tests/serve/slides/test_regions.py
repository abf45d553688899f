"""Pixels, places and values that the server gives of slides, and what it refuses."""

import io
import re
from pathlib import Path
from typing import Any, Final

import numpy as np
import openslide
import pytest
from PIL import Image

import histo_index
from histo_index.api.slides.heatmap import find_slide_rows, heatmap
from histo_index.indexer.writing.hash_cache import STATES_NAME
from histo_index.serve.slides.unchanged import CHANGED, MISSING
from histo_index.serve.state.slide_list import rejected_places
from tests.serve.site import PATIENT, Client, Site, image_of, problem, serving, small
from tests.serve.slides.slide_site import SLIDES, TILE_PX

NOT_FOUND: Final = "there is no such tile or page"
# Levels and places of which a slide of 1536 × 1280 pixels has no square.
NO_SQUARES: Final = (
    "3/0_0", "-1/0_0", "0/3_0", "0/0_3", "0/-1_0", "0/0", "0/0_0_0", "0/_", "0/0_x", "x/0_0",
    "0/1e1_0", "0/+1_0", "0/ 1_0", "0/0x1_0", "9999999999/0_0", "0/999999999_0", "0/٣_0", "0/0.5_0",
    "2/1_0", "0/..%2f..", "..%2f0/0_0",
)  # fmt: skip


def pixels_of(data: bytes) -> Any:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def rows_of(client: Client, slide_id: str, query: str) -> list[list[Any]]:
    found: list[list[Any]] = client.json(f"/v1/slides/{slide_id}/heatmap?{query}")["tiles"]
    return found


def test_slides_are_listed_by_opaque_ids(slide_client: Client, slide_site: Site) -> None:
    found = slide_client.json("/v1/slides")
    assert found["total"] == 2
    assert [one | {"id": ""} for one in found["slides"]] == [
        {"id": "", "tiles": 24, "tile_mpp": 0.5, "tile_px": TILE_PX}
    ] * 2
    assert all(re.fullmatch("[0-9a-f]{32}", one["id"]) for one in found["slides"])
    assert slide_client.json("/v1/slides?start=1")["slides"] == found["slides"][1:]
    with serving(slide_site.config(shows_names=True)) as named:
        assert [one["name"] for one in named.json("/v1/slides")["slides"]] == list(SLIDES)
    with serving(slide_site.config(token="another-token-that-is-long-enough")) as other:
        state = other.state.current.get()
        assert not set(state.slides) & {one["id"] for one in found["slides"]}


def test_a_slide_is_described(slide_client: Client, slide_ids: list[str]) -> None:
    found = slide_client.json(f"/v1/slides/{slide_ids[0]}")
    assert (found["width"], found["height"]) == (1536, 1280)
    assert found["mpp"] == pytest.approx([0.5, 0.5])
    assert found["bounds"] == [0, 0, 1536, 1280]
    assert found["tile_size"] == pytest.approx([128, 128])
    assert [(one["downsample"], one["columns"], one["rows"]) for one in found["levels"]] == [
        (1, 3, 3), (2, 2, 2), (4, 1, 1),
    ]  # fmt: skip
    assert found["square_px"] == 512


def test_regions_have_the_pixels_of_openslide(
    slide_client: Client, slide_site: Site, slide_ids: list[str]
) -> None:
    with openslide.OpenSlide(slide_site.tiles / SLIDES[1]) as reference:
        for level, column, row, place, number, size in (
            (0, 1, 1, (512, 512), 0, (512, 512)),
            (0, 2, 2, (1024, 1024), 0, (512, 256)),
            (2, 0, 0, (0, 0), 1, (384, 320)),
        ):
            address = f"/v1/slides/{slide_ids[1]}/regions/{level}/{column}_{row}"
            exact = slide_client.get(f"{address}?format=png")
            assert exact.headers["content-type"] == "image/png"
            expected = np.asarray(reference.read_region(place, number, size).convert("RGB"))
            np.testing.assert_array_equal(pixels_of(exact.content), expected)
            lossy = slide_client.get(address)
            assert lossy.headers["content-type"] == "image/jpeg"
            difference = pixels_of(lossy.content).astype(int) - expected
            assert np.abs(difference).mean() < 12


@pytest.mark.parametrize("square", NO_SQUARES)
def test_squares_that_are_not_there_are_the_same_404(
    slide_client: Client, slide_ids: list[str], square: str
) -> None:
    found = slide_client.get(f"/v1/slides/{slide_ids[0]}/regions/{square}")
    assert (found.status_code, problem(found)["detail"]) == (404, NOT_FOUND)


def test_names_of_files_are_no_slides(slide_client: Client) -> None:
    for name in (*SLIDES, "0" * 32, "..%2f", f"{SLIDES[0]}%23x=0,y=0,mpp=0.5,size=128"):
        for path in ("", "/tiles", "/overview", "/heatmap?id=x", "/regions/0/0_0"):
            found = slide_client.get(f"/v1/slides/{name}{path}")
            assert (found.status_code, problem(found)["detail"]) == (404, NOT_FOUND)


def test_fields_that_cannot_be_used_are_422(slide_client: Client, slide_ids: list[str]) -> None:
    slide = f"/v1/slides/{slide_ids[0]}"
    tile = slide_client.ids(1)[0]
    for path, detail in (
        ("/overview?size=100000", "size: expected one of 320, 1280"),
        ("/regions/0/0_0?format=tiff", "format: Input should be 'jpeg' or 'png'"),
        ("/heatmap", "no example: pass `id` of a tile, or `class`"),
        (f"/heatmap?unlike={tile}", "no example: pass `id` of what is meant besides `unlike`"),
        (f"/heatmap?id={tile}&class=x", "expected examples or a class, one of the two"),
        ("/heatmap?" + "&".join(f"id={n}" for n in range(17)), "more than 16 examples"),
    ):
        found = slide_client.get(slide + path)
        assert (found.status_code, problem(found)["detail"]) == (422, detail)


def test_tiles_lie_where_they_were_cut(
    slide_client: Client, slide_site: Site, slide_ids: list[str]
) -> None:
    index = histo_index.open(slide_site.index)
    ids = index.opened.rows["image_id"].to_pylist()
    for slide_id, name in zip(slide_ids, SLIDES, strict=True):
        rows, tiles = find_slide_rows(index, name)
        found = slide_client.json(f"/v1/slides/{slide_id}/tiles")
        assert found["rejected"] == []
        assert [tuple(one[1:]) for one in found["tiles"]] == [(one.x, one.y) for one in tiles]
        state = slide_client.state.current.get()
        assert [one[0] for one in found["tiles"]] == [
            state.ids.id_of_name(ids[row]) for row in rows.tolist()
        ]


def test_rejected_tiles_are_those_of_the_slide_and_its_scale(slide_client: Client) -> None:
    slide = next(iter(slide_client.state.current.get().slides.values()))
    scale = slide.tile.scale
    paths = [
        f"{slide.name}#x=5,y=6{scale}", f"other.svs#x=7,y=8{scale}", slide.name,
        f"{slide.name}#x=9,y=9,mpp=1,size=128",
    ]  # fmt: skip
    assert rejected_places(slide, paths) == [(5, 6)]


def test_a_heatmap_has_the_values_of_the_command(
    slide_client: Client, slide_site: Site, slide_ids: list[str]
) -> None:
    index = histo_index.open(slide_site.index)
    (_, tiles), (_, others) = (find_slide_rows(index, name) for name in SLIDES)
    names = [str(tile).rpartition("/")[2] for tile in (tiles[0], tiles[7], others[3])]
    ids = [slide_client.state.current.get().ids.id_of_name(name) for name in names]
    for like, unlike, meaning in (
        ([0], [], "similarity"), ([0, 1], [], "similarity"), ([0], [2], "similarity difference"),
    ):  # fmt: skip
        expected = heatmap(
            index, [names[n] for n in like], slide=SLIDES[1], unlike=[names[n] for n in unlike]
        )
        query = "&".join([*(f"id={ids[n]}" for n in like), *(f"unlike={ids[n]}" for n in unlike)])
        found = slide_client.json(f"/v1/slides/{slide_ids[1]}/heatmap?{query}")
        assert found["meaning"] == meaning == expected.meaning
        assert [row[3] for row in found["tiles"]] == expected.values.tolist()
        assert found["limits"] == [expected.values.min(), expected.values.max()]
        assert [row[:3] for row in found["tiles"]] == slide_client.json(
            f"/v1/slides/{slide_ids[1]}/tiles"
        )["tiles"]


def test_an_uploaded_image_is_an_example(
    slide_client: Client, slide_site: Site, slide_ids: list[str], tmp_path: Path
) -> None:
    with openslide.OpenSlide(slide_site.tiles / SLIDES[0]) as slide:
        slide.read_region((384, 256), 0, (TILE_PX, TILE_PX)).convert("RGB").save(tmp_path / "x.png")
    answer = slide_client.post(
        "/slide", files={"image": image_of(tmp_path / "x.png")}, data={"slide": slide_ids[0]}
    )
    assert answer.status_code == 303
    address = answer.headers["location"]
    assert re.fullmatch(rf"/slide\?slide={slide_ids[0]}&id=u[0-9a-f]{{32}}", address)
    values = {tuple(row[1:3]): row[3] for row in rows_of(
        slide_client, slide_ids[0], address.partition("&")[2]
    )}  # fmt: skip
    best = max(values, key=lambda place: values[place])
    assert best == (384, 256)
    assert values[best] == pytest.approx(1, abs=1e-3)


def test_an_overview_shows_the_slide_its_tiles_and_a_heatmap(
    slide_client: Client, slide_ids: list[str]
) -> None:
    address = f"/v1/slides/{slide_ids[0]}/overview"
    plain = pixels_of(slide_client.get(address).content)
    assert plain.shape == (267, 320, 3)
    large = pixels_of(slide_client.get(f"{address}?size=1280").content)
    assert large.shape == (1067, 1280, 3)
    tiles = pixels_of(slide_client.get(f"{address}?size=1280&tiles=true").content)
    # The left edge of the tile at 256, 256 is blue; glass is as it was.
    edge = tiles[230:290, round(256 * 1280 / 1536)].mean(axis=0)
    assert edge[2] > edge[0] + 60
    np.testing.assert_allclose(tiles[20:100, 20:100], large[20:100, 20:100], atol=6)
    (tile, *_) = slide_client.json(f"/v1/slides/{slide_ids[0]}/tiles")["tiles"]
    heat = slide_client.get(f"{address}?size=1280&tiles=true&id={tile[0]}")
    assert pixels_of(heat.content).shape == (1067, 1280 + 150, 3)


def test_a_tag_is_answered_by_304(slide_client: Client, slide_ids: list[str]) -> None:
    for path in ("regions/0/0_0", "overview"):
        address = f"/v1/slides/{slide_ids[0]}/{path}"
        tag = slide_client.get(address).headers["etag"]
        assert slide_client.get(address, headers={"If-None-Match": tag}).status_code == 304


def addresses(slide_id: str) -> list[str]:
    whole = f"/v1/slides/{slide_id}"
    return [whole, f"{whole}/regions/0/0_0", f"{whole}/overview"]


def test_a_slide_that_is_missing_or_changed_is_said_so_without_its_name(
    slide_site: Site, tmp_path: Path
) -> None:
    own = slide_site.copy(tmp_path / "own")
    with serving(own.config()) as client:
        first, second = (one["id"] for one in client.json("/v1/slides")["slides"])
        for address in addresses(first):
            assert client.get(address).status_code == 200
        (own.tiles / SLIDES[0]).unlink()
        whole = (own.tiles / SLIDES[1]).read_bytes()
        (own.tiles / SLIDES[1]).write_bytes(whole + b"\0")
        for slide_id, detail in ((first, MISSING), (second, CHANGED)):
            for address in addresses(slide_id):
                found = client.get(address)
                assert (found.status_code, problem(found)["detail"]) == (404, detail)
            page = client.get(f"/slide?slide={slide_id}", headers={"Accept": "text/html"})
            assert page.status_code == 200
            assert detail.partition("`")[0] in page.text
            assert "<canvas" not in page.text
            # Values need no pixels.
            (tile, *_) = client.json(f"/v1/slides/{slide_id}/tiles")["tiles"]
            assert len(rows_of(client, slide_id, f"id={tile[0]}")) == 24
        assert client.get("/slides").text.count('class="warning"') == 2
        (own.tiles / SLIDES[1]).write_bytes(whole)
        assert client.get(addresses(second)[1]).status_code == 200


def test_a_slide_is_known_by_its_content_where_the_build_left_no_state(
    slide_site: Site, tmp_path: Path
) -> None:
    own = slide_site.copy(tmp_path / "own")
    (own.index / STATES_NAME).unlink(missing_ok=True)
    with serving(own.config()) as client:
        slide_id = client.json("/v1/slides")["slides"][0]["id"]
        assert client.get(addresses(slide_id)[1]).status_code == 200


def test_a_slide_that_cannot_be_decoded_is_one_line_without_its_name(
    slide_site: Site, tmp_path: Path
) -> None:
    # As indexed and yet unreadable: no decoder is given the time to answer.
    config = slide_site.config(limits=small(decode_s=0.001))
    with serving(config) as client:
        slide_id = client.json("/v1/slides")["slides"][0]["id"]
        for address in addresses(slide_id):
            found = client.get(address)
            assert found.status_code == 422
            assert problem(found)["detail"].startswith("this slide cannot be shown: it is damaged")


def test_a_crowd_is_sent_away_with_503(slide_site: Site) -> None:
    config = slide_site.config(limits=small(waiting=1))
    with serving(config) as client:
        slide_id = client.json("/v1/slides")["slides"][0]["id"]
        asked: list[tuple[str, str, dict[str, Any]]] = [
            ("GET", f"/v1/slides/{slide_id}/regions/0/{n % 3}_{n % 3}?format=png", {})
            for n in range(12)
        ]
        found = client.together(*asked)
        assert {one.status_code for one in found} == {200, 503}
        for one in found:
            if one.status_code == 503:
                assert one.headers["retry-after"] == "5"
                assert problem(one)["detail"] == "the server is busy; try again in 5 s"
        assert client.get(asked[0][1]).status_code == 200


def test_nothing_names_a_file_or_a_patient(
    slide_client: Client, slide_site: Site, slide_ids: list[str]
) -> None:
    (tile, *_) = slide_client.json(f"/v1/slides/{slide_ids[0]}/tiles")["tiles"]
    for path in (
        "/slides", f"/slides?id={tile[0]}", f"/slide?slide={slide_ids[0]}",
        f"/slide?slide={slide_ids[0]}&id={tile[0]}", "/v1/slides", f"/v1/slides/{slide_ids[0]}",
        f"/v1/slides/{slide_ids[0]}/tiles", f"/v1/slides/{slide_ids[0]}/heatmap?id={tile[0]}",
        f"/v1/slides/{slide_ids[0]}/heatmap?class=x", f"/slide?slide={slide_ids[0]}&class=x",
        "/slide?slide=../x.svs", f"/v1/slides/{slide_ids[0]}/regions/9/9_9",
    ):  # fmt: skip
        for accept in ("text/html", "*/*"):
            found = slide_client.get(path, headers={"Accept": accept})
            text = found.text + str(found.headers)
            for secret in (PATIENT, ".svs", slide_site.folder.name, str(slide_site.folder)):
                assert secret not in text, path
