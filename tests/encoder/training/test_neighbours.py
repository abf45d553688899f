"""Views, runs and checkpoints in which second views are of neighbours."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from histo_index.encoder.decode.image_file import DecodeLimits, TileImage, read_tile
from histo_index.encoder.folder import load_encoder
from histo_index.encoder.training.batches.material import Lessons
from histo_index.encoder.training.batches.neighbours import Neighbours, Place, find_touching
from histo_index.encoder.training.batches.order import Draws, Order
from histo_index.encoder.training.config import TrainProgress
from histo_index.encoder.training.recipes import HISTOLOGY
from histo_index.encoder.training.train import TrainReport, train
from histo_index.encoder.training.views import Views, check_tiles, load
from histo_index.errors import MismatchError
from tests.encoder.training.conftest import TINY, config, weights

RECIPE = replace(TINY, neighbours=0.5)
# Six tiles in a row; the last has no known place.
TOUCHING = find_touching([*(Place("s", 64.0 * n, 0.0, 64.0, 64.0) for n in range(5)), None])


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Six tiles; each has one grey, ten times its number."""
    folder = tmp_path_factory.mktemp("grey")
    paths = [folder / f"{number}.png" for number in range(6)]
    for number, path in enumerate(paths):
        Image.new("RGB", (64, 64), (10 * number,) * 3).save(path)
    return paths


def make(paths: list[Path], share: float) -> Views:
    neighbours = Neighbours(touching=TOUCHING, share=share, seed=1)
    return Views(paths, v2.CenterCrop(32), seed=1, neighbours=neighbours)


def test_the_second_view_is_of_the_tile_that_is_drawn(grey: list[Path]) -> None:
    views, order = make(grey, 0.5), Order(Draws(None, 6), epoch=4, seed=1, batch=6)
    (addresses,), (batch,) = list(order), list(load(views, order, workers=0))
    tiles = views.tiles(addresses)
    assert (batch[:, 0, 0, 0] // 10).tolist() == tiles
    assert tiles[:6] == [tile for _, tile in addresses]
    pairs = list(zip(tiles[:6], tiles[6:], strict=True))
    assert {abs(first - second) for first, second in pairs} == {0, 1}
    assert (5, 5) in pairs


def test_first_views_are_those_of_a_run_without_neighbours(tiles: list[Path]) -> None:
    touching = find_touching([Place("s", 64.0 * n, 0.0, 64.0, 64.0) for n in range(len(tiles))])
    neighbours = Neighbours(touching=touching, share=1.0, seed=7)
    alone = Views(tiles, HISTOLOGY.views(), seed=7)
    paired = Views(tiles, HISTOLOGY.views(), seed=7, neighbours=neighbours)
    for tile in range(3):
        assert torch.equal(alone[0, tile][0], paired[0, tile][0])
        assert not torch.equal(alone[0, tile][1], paired[0, tile][1])


@pytest.mark.parametrize(("share", "reads"), [(0.0, 1), (1.0, 2)])
def test_a_tile_is_decoded_at_most_once_a_view(
    share: float, reads: int, grey: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []

    def count(path: Path, limits: DecodeLimits) -> TileImage:
        read.append(path)
        return read_tile(path, limits)

    monkeypatch.setattr("histo_index.encoder.training.views.read_tile", count)
    make(grey, share)[0, 2]
    assert len(read) == reads


@pytest.fixture(scope="module")
def lessons(tiles: list[Path]) -> Lessons:
    """Places of two slides; those of the last four tiles are unknown."""
    count = len(tiles)
    places = [Place(f"slide {n % 2}", 64.0 * (n // 2), 0.0, 64.0, 64.0) for n in range(count - 4)]
    return Lessons(places=[*places, None, None, None, None])


@pytest.fixture(scope="module")
def paired(
    tiles: list[Path], lessons: Lessons, tmp_path_factory: pytest.TempPathFactory
) -> TrainReport:
    output = tmp_path_factory.mktemp("paired") / "encoder"
    return train(tiles, config(output, RECIPE), lessons=lessons)


def test_log_and_card_name_the_share_and_the_number_of_tiles_with_neighbours(
    paired: TrainReport, finished: TrainReport
) -> None:
    lines = (paired.encoder / "train.jsonl").read_text().splitlines()
    assert [json.loads(line)["with_neighbours"] for line in lines] == [12, 12]
    card = load_encoder(paired.encoder).config.training
    assert (card["recipe"]["neighbours"], card["figures"]["with_neighbours"]) == (0.5, 12)
    assert "with_neighbours" not in (finished.encoder / "train.jsonl").read_text()
    assert weights(paired.encoder) != weights(finished.encoder)


def test_without_places_a_run_is_the_one_without_neighbours(
    tiles: list[Path], finished: TrainReport, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    report = train(tiles, config(tmp_path / "out", RECIPE), lessons=Lessons(places=[None] * 16))
    assert caplog.messages == []
    assert weights(report.encoder) == weights(finished.encoder)


def interrupt(tiles: list[Path], lessons: Lessons, output: Path) -> None:
    def stop(state: TrainProgress) -> None:
        if state.step == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(
            tiles,
            config(output, RECIPE, checkpoint_every_s=0.0),
            lessons=lessons,
            on_step=stop,
        )


def test_an_interrupted_run_ends_as_one_that_was_not(
    paired: TrainReport, tiles: list[Path], lessons: Lessons, tmp_path: Path
) -> None:
    interrupt(tiles, lessons, tmp_path / "out")
    moved = Lessons(places=[place and place._replace(x=9 * place.x) for place in lessons.places])
    with pytest.raises(MismatchError, match="the checkpoint was made with other neighbours"):
        train(tiles, config(tmp_path / "out", RECIPE), lessons=moved, resume=True)
    train(tiles, config(tmp_path / "out", RECIPE), lessons=lessons, resume=True)
    assert weights(tmp_path / "out") == weights(paired.encoder)


def test_rejected_tiles_are_nobodys_neighbours(
    grey: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The third tile is smaller than the crop: its neighbours have one each."""
    small = tmp_path / "small.png"
    Image.new("RGB", (16, 16)).save(small)
    paths = [*grey[:2], small, *grey[3:]]
    places = [Place("s", 64.0 * n, 0.0, 64.0, 64.0) for n in range(5)]
    given = config(tmp_path / "out", RECIPE)
    caplog.set_level("INFO")
    tiles = check_tiles(paths, given)
    material = Lessons(places=[*places, None]).choose(tiles)
    assert material.touching == [(1,), (0,), (3,), (2,), ()]
    assert caplog.messages[-1] == "4 of 5 tiles touch another of their slide"
    assert np.array_equal(tiles.rows, [0, 1, 3, 4, 5])
