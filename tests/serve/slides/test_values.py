"""Places of tiles and values over a slide are those of the index and of the command."""

import re
from pathlib import Path

import openslide
import pytest

import histo_index
from histo_index.api.slides.heatmap import find_slide_rows, heatmap
from histo_index.serve.state.slide_list import rejected_places
from tests.serve.site import Client, Site, image_of, problem
from tests.serve.slides.slide_site import SLIDES, TILE_PX


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
    query = address.partition("&")[2]
    heat = slide_client.json(f"/v1/slides/{slide_ids[0]}/heatmap?{query}")
    assert [note.partition(":")[0] for note in heat["scale_notes"]] == ["scale unchecked"]
    values = {tuple(row[1:3]): row[3] for row in heat["tiles"]}
    far = slide_client.post(
        "/slide", files={"image": image_of(tmp_path / "x.png")},
        data={"slide": slide_ids[0], "mpp": "2"},
    )  # fmt: skip
    refused = slide_client.get(far.headers["location"], headers={"Accept": "*/*"})
    assert refused.status_code == 422
    assert problem(refused)["detail"].startswith("another scale: ")
    best = max(values, key=lambda place: values[place])
    assert best == (384, 256)
    assert values[best] == pytest.approx(1, abs=1e-3)
