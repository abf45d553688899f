"""Whole runs with a teacher: what they leave and keep, and how they go on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from histo_index.encoder.config import PROJECTION, PROJECTION_SIZE, EncoderConfig
from histo_index.encoder.create import init_encoder
from histo_index.encoder.encoder import Encoder
from histo_index.encoder.folder import load_encoder
from histo_index.encoder.training.batches.material import Lessons
from histo_index.encoder.training.byol import Byol, start_from
from histo_index.encoder.training.config import TrainProgress
from histo_index.encoder.training.distillation.start import fix_norms, freeze_stages
from histo_index.encoder.training.distillation.teacher import Teacher
from histo_index.encoder.training.recipes import DISTIL
from histo_index.encoder.training.train import TrainReport, train
from histo_index.encoder.unfinished import CHECKPOINT_NAME
from histo_index.errors import MismatchError
from tests.encoder.training.conftest import config, weights

RECIPE = replace(
    DISTIL, crop_px=32, tile_px=48, batch=4, epochs=2, hidden=32, projection=16, frozen_stages=0,
    is_norm_fixed=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def lessons(tiles: list[Path]) -> Lessons:
    features = np.random.default_rng(0).normal(size=(len(tiles), 12)).astype(np.float32)
    features[3] = np.nan
    teacher = Teacher(name="features.parquet", columns={"one": features})
    sources = ["many"] * (len(tiles) - 2) + ["few"] * 2
    return Lessons(teacher=teacher, sources=sources)


@pytest.fixture(scope="module")
def taught(
    tiles: list[Path], lessons: Lessons, tmp_path_factory: pytest.TempPathFactory
) -> TrainReport:
    output = tmp_path_factory.mktemp("taught") / "encoder"
    return train(tiles, config(output, RECIPE), lessons=lessons)


def test_the_encoder_carries_the_projection_and_names_its_teacher(
    taught: TrainReport, tiles: list[Path]
) -> None:
    encoder = load_encoder(taught.encoder)
    card = encoder.config.training
    assert encoder.config.pooling == PROJECTION
    assert card["method"] == "distillation"
    assert card["teacher"] == {"name": "features.parquet", "columns": ["one"], "tiles": 15}
    (row,) = Encoder(encoder, device="cpu").encode_pixels([np.zeros((48, 48, 3), np.uint8) + 9])
    assert row.shape == (3 * 512 + PROJECTION_SIZE,)


def test_an_interrupted_run_ends_as_one_that_was_not(
    taught: TrainReport, tiles: list[Path], lessons: Lessons, tmp_path: Path
) -> None:
    def stop(state: TrainProgress) -> None:
        if state.step == 3:
            raise KeyboardInterrupt

    given = config(tmp_path / "out", RECIPE, checkpoint_every_s=0.0)
    with pytest.raises(KeyboardInterrupt):
        train(tiles, given, lessons=lessons, on_step=stop)
    train(tiles, given, lessons=lessons, resume=True)
    assert weights(tmp_path / "out") == weights(taught.encoder)


def test_a_run_does_not_go_on_with_another_teacher(
    tiles: list[Path], lessons: Lessons, tmp_path: Path
) -> None:
    def stop(state: TrainProgress) -> None:
        if state.step == 2:
            raise KeyboardInterrupt

    given = config(tmp_path / "out", RECIPE, checkpoint_every_s=0.0)
    with pytest.raises(KeyboardInterrupt):
        train(tiles, given, lessons=lessons, on_step=stop)
    assert (tmp_path / "out" / CHECKPOINT_NAME).is_file()
    with pytest.raises(MismatchError, match="the checkpoint was made with other teacher, sources"):
        train(tiles, given, resume=True)


def test_a_start_without_projection_gives_network_and_statistics_to_both_networks(
    tiles: list[Path], tmp_path: Path
) -> None:
    init_encoder(tmp_path / "start", arch="resnet18", seed=9)
    start = load_encoder(tmp_path / "start")
    start.weights["bn1.running_mean"][:] = 0.25
    wanted = EncoderConfig(architecture="resnet18", pooling=PROJECTION)
    byol = Byol(wanted, hidden=8, size=4)
    start_from(byol, start, wanted)
    kernel = start.weights["layer1.0.conv1.weight"]
    for projection in (byol.online, byol.target.module):
        state = projection.state_dict()
        assert state["trunk.network.bn1.running_mean"].tolist() == [0.25] * 64
        np.testing.assert_array_equal(state["trunk.network.layer1.0.conv1.weight"], kernel)


def test_frozen_stages_and_fixed_norms_stay_and_the_rest_learns() -> None:
    torch.manual_seed(0)
    byol = Byol(EncoderConfig(architecture="resnet18", pooling=PROJECTION), hidden=8, size=4)
    freeze_stages(byol.online.trunk, 1)
    fix_norms(byol)
    images = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)
    byol.train()
    byol.online.trunk(images).square().sum().backward()
    network = byol.online.trunk.network
    frozen = ("conv1.weight", "bn1.weight", "layer1.0.conv1.weight")
    assert [network.get_parameter(name).grad for name in frozen] == [None, None, None]
    assert network.get_parameter("layer2.0.conv1.weight").grad is not None
    assert network.get_buffer("layer3.0.bn1.running_mean").tolist() == [0.0] * 256
