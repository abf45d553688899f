"""The scale of queries and of the calibration, in every answer of Python, commands and server."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import histo_index
from histo_index.api.index import Index
from histo_index.demo.tiles import render_tile
from histo_index.errors import HistoIndexError, ImageError
from histo_index.search.calibration.calibration import store_calibration
from histo_index.slides.scale import Scale
from tests.cli.conftest import Run
from tests.serve.site import Client, Site, image_of, problem, serving

# The tiles of the site have 64 px of 0.5 µm; its encoder resizes them to 224 px.
OWN = 0.5 * 64 / 224
UNKNOWN = "scale unchecked: microns per pixel of the image are unknown"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image that is in no index, of 64 px."""
    path = tmp_path_factory.mktemp("scale") / "new.png"
    Image.fromarray(render_tile("stroma", seed=99, size_px=64)).save(path)
    return path


@pytest.fixture
def recalibrated(own_site: Site) -> Site:
    """Pretend that the calibration was made on tiles of half the resolution."""
    calibration = Index(own_site.index).calibration
    assert calibration is not None
    other = replace(calibration, scale=Scale.of(2 * OWN, 2 * OWN, crop_px=224))
    store_calibration(own_site.index, other)
    return own_site


def test_a_calibration_has_the_scale_of_its_tiles(site: Site) -> None:
    calibration = Index(site.index).calibration
    assert calibration is not None
    assert calibration.scale == Scale.of(OWN, OWN, crop_px=224)


@pytest.mark.parametrize(
    ("mpp", "line"),
    [
        (0.5, ""),
        (0.6, f"1 image: another scale: the image has {1.2 * OWN:.3g} µm per pixel as the "
              f"encoder sees it, the index has {OWN:.3g}: a factor of 1.20"),
        (None, UNKNOWN.replace("the image", "1 image")),
    ],
)  # fmt: skip
def test_the_scale_of_a_file_is_compared_with_that_of_the_index(
    site: Site, image: Path, mpp: float | None, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    index = histo_index.open(site.index, query_mpp=mpp)
    index.search(image, k=1)
    with Image.open(image) as pixels:
        index.search(pixels.copy(), k=1)
    assert [one for one in caplog.messages if "scale" in one] == [line] * 2 * bool(line)


@pytest.fixture(scope="module")
def by_leniency(site: Site) -> dict[bool, Index]:
    """The index for images of 1 µm per pixel, by whether it compares any scale."""
    return {
        any_mpp: histo_index.open(site.index, query_mpp=1.0, any_mpp=any_mpp)
        for any_mpp in (False, True)
    }


def everything(index: Index, image: Path) -> dict[str, Callable[[], Any]]:
    name = next(iter(index))
    return {
        "pair": lambda: index.pair(image, name),
        "pairs": lambda: index.pairs([(image, name)]),
        "search": lambda: index.search(image),
        "classify": lambda: index.classify(image),
        "locate": lambda: index.locate([image]),
    }


@pytest.mark.parametrize("question", ["pair", "pairs", "search", "classify", "locate"])
def test_every_question_refuses_a_file_of_quite_another_scale(
    by_leniency: dict[bool, Index], image: Path, question: str
) -> None:
    def ask(*, any_mpp: bool) -> Any:
        return everything(by_leniency[any_mpp], image)[question]()

    ask(any_mpp=True)
    message = r"new.png: another scale: the image .* the index has .* a factor of 2.00"
    if question == "pairs":
        (row,) = ask(any_mpp=False).table.to_pylist()
        assert row["status"] == "error"
        assert "another scale: the image" in row["message"]
        return
    with pytest.raises(ImageError, match=message):
        ask(any_mpp=False)


@pytest.mark.parametrize("question", ["pair", "pairs", "search", "classify", "class"])
def test_a_calibration_of_quite_another_scale_decides_about_no_tile(
    recalibrated: Site, question: str, caplog: pytest.LogCaptureFixture
) -> None:
    def ask(*, any_mpp: bool) -> Any:
        index = histo_index.open(recalibrated.index, any_mpp=any_mpp)
        tile = Path(next(iter(index)))
        if question == "class":
            label = index.table(["label"])["label"][0].as_py()
            return index.classify_each([str(tile)], {})[0], label
        return everything(index, tile)[question]()

    message = r"another scale: the image has .* the calibration has .* a factor of 2.00"
    if question == "pairs":
        (row,) = ask(any_mpp=False).table.to_pylist()
        assert row["status"] == "error"
    elif question == "class":
        assert isinstance(ask(any_mpp=False)[0], HistoIndexError)
    else:
        with pytest.raises(ImageError, match=message):
            ask(any_mpp=False)
    caplog.clear()
    ask(any_mpp=True)
    assert len([line for line in caplog.messages if "the calibration has" in line]) == 1


COMMANDS = ("pair A A", "pairs LIST", "search A -k 1", "classify A")


# Without the files of the tiles there are no baselines, which take long.
@pytest.mark.parametrize("text", [*COMMANDS, "evaluate --tiles EMPTY"])
def test_commands_pass_the_scale_on(
    run: Run, recalibrated: Site, tmp_path: Path, text: str
) -> None:
    name = next(iter(Index(recalibrated.index)))
    (tmp_path / "pairs.csv").write_text(f"image_a,image_b\n{name},{name}\n")
    words = {"A": name, "LIST": tmp_path / "pairs.csv", "EMPTY": tmp_path / "own"}
    command = [words.get(word, word) for word in text.split()]
    refused = run(*command, "-i", recalibrated.index)
    assert refused.code in (1, 3)
    assert "another scale: the image has" in refused.err + refused.out
    assert run(*command, "-i", recalibrated.index, "--any-mpp").code == 0
    if text in COMMANDS:
        wrong = run(*command, "-i", recalibrated.index, "--mpp", 0)
        assert "--mpp 0.0: expected 0.02 to 20 microns per pixel" in wrong.err


def test_a_heatmap_takes_the_scale_of_its_examples(run: Run, site: Site, tmp_path: Path) -> None:
    command = ("heatmap", "a.png", "--slide", "s.svs", "-o", tmp_path / "m.png")
    found = run(*command, "-i", site.index, "--mpp", 0)
    assert "--mpp 0.0: expected 0.02 to 20 microns per pixel" in found.err


def test_a_pair_without_an_index_has_nothing_to_compare_a_scale_with(run: Run, site: Site) -> None:
    found = run("pair", "a.png", "b.png", "--encoder", site.folder / "encoder", "--mpp", "1")
    assert (found.code, "--mpp needs an index" in found.err) == (2, True)


def test_info_compares_index_and_calibration(run: Run, recalibrated: Site) -> None:
    assert "the calibration has" in run("info", "-i", recalibrated.index).out


def test_the_server_compares_uploads(client: Client, image: Path) -> None:
    tile = client.ids(1)[0]

    def ask(path: str, mpp: str) -> Any:
        files = {"image": image_of(image)}
        return client.post(f"/v1/{path}", files=files, data={"mpp": mpp, "id": tile})

    def notes(path: str, mpp: str) -> Any:
        found = ask(path, mpp).json()
        return (found["images"][0] if path == "classify" else found)["scale_notes"]

    for path in ("search", "pair", "classify"):
        assert notes(path, "0.5") == []
        assert notes(path, "") == [UNKNOWN]
        (warned,) = notes(path, "0.6")
        assert warned.endswith(f"the index has {OWN:.3g}: a factor of 1.20")
        refused = ask(path, "1")
        assert refused.status_code == 422
        assert "another scale: the image has" in problem(refused)["detail"]
        assert "mpp: expected 0.02 to 20 microns per pixel" in problem(ask(path, "nan"))["detail"]


def test_the_pages_ask_for_the_scale_and_show_what_follows(client: Client, image: Path) -> None:
    assert 'name="mpp"' in client.get("/search").text
    sent = client.post("/v1/search", files={"image": image_of(image)}, data={"mpp": "0.6"}).json()
    upload = sent["like"][0]
    page = client.get("/search", params={"id": upload}).text
    assert "a factor of 1.20" in page
    pair = client.get("/pair", params={"a": upload, "b": client.ids(1)[0]}).text
    assert "a factor of 1.20" in pair
    assert "Both are drawn to the same scale." in pair
    # 64 px of 0.6 µm.
    assert "38 µm" in pair


def test_a_server_may_compare_any_scale(site: Site, image: Path) -> None:
    with serving(site.config(any_mpp=True)) as lenient:
        files = {"image": image_of(image)}
        found = lenient.post("/v1/search", files=files, data={"mpp": "1"}).json()
    assert "a factor of 2.00" in found["scale_notes"][0]


def test_a_server_refuses_tiles_that_the_calibration_does_not_fit(recalibrated: Site) -> None:
    with serving(recalibrated.config()) as server:
        tile = server.ids(1)[0]
        found = server.get("/v1/search", params={"id": tile})
    assert found.status_code == 422
    assert "the calibration has" in problem(found)["detail"]
