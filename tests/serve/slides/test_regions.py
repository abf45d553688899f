"""Pixels of slides are those of OpenSlide at their level and place."""

import io
import re
from typing import Any

import numpy as np
import openslide
import pytest
from PIL import Image

from tests.serve.site import Client, Site, serving
from tests.serve.slides.slide_site import SLIDES, TILE_PX


def pixels_of(data: bytes) -> Any:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


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
