"""What is refused of slides: squares that are not there, missing and changed files, crowds."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pytest

import histo_index
from histo_index.indexer.hashing.cache import write_states
from histo_index.indexer.hashing.files import slide_marks
from histo_index.indexer.hashing.tiles import STATES
from histo_index.indexer.reader import OpenIndex
from histo_index.search.calibration.calibration import store_calibration
from histo_index.search.calibration.otsu import guess
from histo_index.serve.slides.unchanged import CHANGED, MISSING
from histo_index.slides.scale import Scale
from tests.promises.test_22_nothing_leaks_from_the_server import PATH_SHAPED
from tests.serve.site import PATIENT, TOKEN, Client, Site, problem, serving, small
from tests.serve.slides.slide_site import SLIDES

NOT_FOUND: Final = "there is no such tile or page"
# Levels and places where a slide of 1536 × 1280 pixels has no square.
NO_SQUARES: Final = (
    "3/0_0", "-1/0_0", "0/3_0", "0/0_3", "0/-1_0", "0/0", "0/0_0_0", "0/_", "0/0_x", "x/0_0",
    "0/1e1_0", "0/+1_0", "0/ 1_0", "0/0x1_0", "9999999999/0_0", "0/999999999_0", "0/٣_0", "0/0.5_0",
    "2/1_0", "0/..%2f..", "..%2f0/0_0",
)  # fmt: skip


def addresses(slide_id: str) -> list[str]:
    whole = f"/v1/slides/{slide_id}"
    return [whole, f"{whole}/regions/0/0_0", f"{whole}/overview"]


@pytest.mark.parametrize("square", NO_SQUARES)
def test_squares_that_are_not_there_are_the_same_404(
    slide_client: Client, slide_ids: list[str], square: str
) -> None:
    found = slide_client.get(f"/v1/slides/{slide_ids[0]}/regions/{square}")
    assert (found.status_code, problem(found)["detail"]) == (404, NOT_FOUND)


def test_names_of_files_are_no_slides(slide_client: Client) -> None:
    shaped = [name for name in PATH_SHAPED if name not in (".", "..") and "/" not in name]
    for name in (*SLIDES, *shaped, f"{SLIDES[0]}%23x=0,y=0,mpp=0.5,size=128"):
        for path in ("", "/overview", "/heatmap?id=x", "/regions/0/0_0"):
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


def test_a_form_of_another_page_is_refused(slide_site: Site, slide_ids: list[str]) -> None:
    with serving(slide_site.config()) as client:
        cookie = client.ask("GET", "/slides", params={"token": TOKEN}).headers["set-cookie"]
        headers = {
            "Cookie": cookie.partition(";")[0], "Origin": "null", "Sec-Fetch-Mode": "navigate",
        }  # fmt: skip
        for site, token in (("same-origin", ""), ("same-site", "0" * 64), ("same-origin", TOKEN)):
            data = {"slide": slide_ids[0], "write_token": token}
            files = {"image": ("x.png", b"no image", "image/png")}
            whole = {**headers, "Sec-Fetch-Site": site}
            sent = client.ask("POST", "/slide", headers=whole, files=files, data=data)
            assert sent.status_code == 403


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
            heat = client.json(f"/v1/slides/{slide_id}/heatmap?id={tile[0]}")
            assert len(heat["tiles"]) == 24
            shown = client.get(f"/v1/tiles/{tile[0]}/image?size=160")
            assert (shown.status_code, "the slide of this tile" in shown.text) == (404, True)
        assert client.get("/slides").text.count('class="warning"') == 2
        (own.tiles / SLIDES[1]).write_bytes(whole)
        assert client.get(addresses(second)[1]).status_code == 200


def test_a_slide_is_hashed_only_where_it_is_not_in_the_state_of_the_build(
    slide_site: Site, tmp_path: Path
) -> None:
    own = slide_site.copy(tmp_path / "own")
    # The state of the first file with another digest; of the second, another state.
    marks = [slide_marks(own.tiles / name) for name in SLIDES]
    columns = [list(column) for column in zip(marks[0], (1, *marks[1][1:]), strict=True)]
    states = pa.table([list(SLIDES), *columns, ["0" * 64] * 2], schema=STATES)
    write_states(own.index, states, before=STATES.empty_table())
    with serving(own.config()) as client:
        first, second = (one["id"] for one in client.json("/v1/slides")["slides"])
        assert problem(client.get(f"/v1/slides/{first}"))["detail"] == CHANGED
        assert client.json(f"/v1/slides/{second}")["width"] == 1536


def test_a_slide_that_cannot_be_decoded_is_one_line_without_its_name(tmp_path: Path) -> None:
    # Made from embeddings, so that nobody knows what the slide held.
    slide = tmp_path / f"{PATIENT}.svs"
    slide.write_bytes(b"no slide")
    histo_index.from_embeddings(
        [f"{slide}#x=0,y=0,mpp=0.5,size=64"], np.eye(1, 4), tmp_path / "tiles.hx", encoder="other"
    )
    with serving(Site(folder=tmp_path).config()) as client:
        slide_id = client.json("/v1/slides")["slides"][0]["id"]
        for address in addresses(slide_id):
            found = client.get(address)
            assert found.status_code == 422
            assert problem(found)["detail"].startswith("this slide cannot be shown: it is damaged")
            assert PATIENT not in found.text


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


def test_no_class_is_drawn_by_a_calibration_of_another_scale(
    slide_site: Site, slide_ids: list[str], tmp_path: Path
) -> None:
    own = slide_site.copy(tmp_path / "own")
    made = guess(OpenIndex(own.index))
    store_calibration(own.index, replace(made, scale=Scale.of(0.1, 0.1, crop_px=224)))
    with serving(own.config()) as server:
        found = server.get(f"/v1/slides/{slide_ids[0]}/heatmap", params={"class": "x"})
    detail = problem(found)["detail"]
    assert found.status_code == 422
    # Tiles of 128 px of 0.5 µm, resized to 224.
    assert detail.startswith(
        "another scale: the image has 0.286 µm per pixel as the encoder sees it, the calibra"
    )
    assert PATIENT not in detail
