"""Whole runs on rendered tiles: what they leave, how they go on, what stops them."""

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from histo_index.encoder.create import init_encoder
from histo_index.encoder.folder import load_encoder
from histo_index.encoder.runtime.untrained import random_weights
from histo_index.encoder.training import loop
from histo_index.encoder.training.byol import Byol
from histo_index.encoder.training.monitor import Monitor, effective_rank, spread
from histo_index.encoder.training.recipes import REFERENCE
from histo_index.encoder.training.train import TrainReport, train
from histo_index.errors import InputError, MismatchError, TrainingError
from histo_index.search.evaluation.training_monitor import MonitorMetrics, MonitorThresholds
from tests.encoder.training.conftest import TINY, config


def test_a_run_leaves_an_encoder_with_its_card(finished: TrainReport) -> None:
    encoder = load_encoder(finished.encoder)
    card = encoder.config.training
    assert encoder.fingerprint == finished.fingerprint
    assert encoder.config.preprocessing.crop_px == 48
    assert encoder.config.mpp == 0.5
    assert (card["method"], card["epochs"], card["images_seen"]) == ("byol", 2, 32)
    assert card["data"] == {"licence": "CC0-1.0", "mpp": 0.5, "tiles": 16}
    assert card["recipe"]["batch"] == 4
    assert sorted(path.name for path in finished.encoder.iterdir()) == [
        "config.json", "model.safetensors", "train.jsonl", "train.png",
    ]  # fmt: skip


def test_every_epoch_has_its_line_and_the_plot_is_a_picture(finished: TrainReport) -> None:
    lines = (finished.encoder / "train.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == list(finished.epochs)
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]
    with Image.open(finished.encoder / "train.png") as picture:
        assert picture.format == "PNG"
        assert np.asarray(picture.convert("L")).std() > 10


def test_reported_seconds_are_the_wall_time_with_monitoring(
    tiles: list[Path], tmp_path: Path
) -> None:
    started = time.monotonic()
    report = train(tiles, config(tmp_path / "out", replace(TINY, epochs=1)))
    (epoch,) = report.epochs
    assert report.monitoring_seconds == epoch["monitoring_seconds"] > 0
    parts = epoch["training_seconds"] + epoch["monitoring_seconds"]
    assert parts < report.seconds < time.monotonic() - started


def test_training_moves_the_weights_off_their_start(finished: TrainReport) -> None:
    torch.manual_seed(0)
    start = Byol(config(finished.encoder).encoder, hidden=32, size=16)
    before = start.online.trunk.network.conv1.weight.detach().numpy()
    after = load_encoder(finished.encoder).weights["conv1.weight"]
    assert 1e-5 < np.abs(after - before).mean() < 0.1


def test_a_run_from_another_encoder_starts_at_its_weights(
    tiles: list[Path], tmp_path: Path
) -> None:
    init_encoder(tmp_path / "start", arch="resnet18", seed=9)
    still = replace(TINY, learning_rate=1e-12, weight_decay=0.0, epochs=1)
    report = train(tiles, config(tmp_path / "out", still, init=tmp_path / "start"))
    found = load_encoder(report.encoder).weights
    np.testing.assert_allclose(
        found["conv1.weight"], random_weights("resnet18", seed=9)["conv1.weight"], atol=1e-6
    )


def test_a_start_of_another_architecture_is_refused(tiles: list[Path], tmp_path: Path) -> None:
    init_encoder(tmp_path / "start", arch="resnext50_32x4d", seed=9)
    with pytest.raises(
        MismatchError, match=r"start is a resnext50_32x4d, .* pass --arch resnext50"
    ):
        train(tiles, config(tmp_path / "out", init=tmp_path / "start"))


def test_a_start_without_the_stage_that_is_learnt_from_is_refused(
    tiles: list[Path], finished: TrainReport, tmp_path: Path
) -> None:
    by_mean = replace(REFERENCE, crop_px=32, tile_px=48, batch=4, epochs=1)
    with pytest.raises(MismatchError, match=r"encoder ends before .* mean is taken of, as this"):
        train(tiles, config(tmp_path / "out", by_mean, init=finished.encoder))


def test_stages_that_are_not_pooled_are_neither_learnt_nor_kept(finished: TrainReport) -> None:
    stages = {name.split(".")[0] for name in load_encoder(finished.encoder).weights}
    assert stages == {"conv1", "bn1", "layer1", "layer2", "layer3"}


def test_the_best_epoch_by_the_monitor_is_kept(
    tiles: list[Path], finished: TrainReport, tmp_path: Path
) -> None:
    aucs = iter([0.9, 0.4])
    thresholds = MonitorThresholds(diffused_threshold=1.5)
    monitor = Monitor(
        name="labels.csv",
        images=[np.zeros((48, 48, 3), np.uint8)] * 2,
        measure=lambda embeddings: (MonitorMetrics(pair_auc=next(aucs)), thresholds),
    )
    report = train(tiles, config(tmp_path / "out"), monitor=monitor)
    assert report.best_epoch == 1
    logged = [(epoch["pair_auc"], epoch["diffused_threshold"]) for epoch in report.epochs]
    assert logged == [(0.9, 1.5), (0.4, 1.5)]
    assert "threshold" not in report.epochs[0]
    assert load_encoder(tmp_path / "out" / "best").config.training["epochs"] == 1
    last = load_encoder(tmp_path / "out").config
    assert last.training["epochs"] == 2
    assert last.threshold is None
    assert last.diffused_threshold is not None
    assert last.diffused_threshold.value == 1.5
    assert "labels.csv" in last.diffused_threshold.origin
    # The monitor changes no weight.
    assert report.fingerprint == finished.fingerprint


def test_bad_tiles_are_listed_and_skipped(tiles: list[Path], tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    Image.new("RGB", (20, 90)).save(tmp_path / "small.png")
    bad = [tmp_path / "broken.png", tmp_path / "small.png"]
    report = train([*bad, *tiles], config(tmp_path / "out", replace(TINY, epochs=1)))
    assert report.tiles == 16
    assert "broken.png" in report.rejected[0]
    assert "20 × 90 px, smaller than the crop of 32 px" in report.rejected[1]


def test_too_few_tiles_and_tiles_all_alike_are_refused(tiles: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="3 usable tiles are fewer than a batch of 4"):
        train(tiles[:3], config(tmp_path / "few"))
    copies = []
    for number in range(5):
        copies.append(tmp_path / f"{number}.png")
        copies[-1].write_bytes(tiles[0].read_bytes())
    with pytest.raises(InputError, match="all 5 tiles are the same image"):
        train(copies, config(tmp_path / "alike"))
    assert not (tmp_path / "alike").exists()


def test_a_loss_that_is_not_finite_stops_and_keeps_the_state_before(
    tiles: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = Byol.forward

    def broken(self: Byol, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        loss, projections = exact(self, images)
        calls.append(1)
        return (loss * float("nan") if len(calls) == 6 else loss), projections

    calls: list[int] = []
    monkeypatch.setattr(Byol, "forward", broken)
    with pytest.raises(TrainingError, match=r"the loss is nan at step 6; .* lower --learning-rate"):
        train(tiles, config(tmp_path / "out"))
    monkeypatch.undo()
    seen: list[int] = []
    train(
        tiles, config(tmp_path / "out"), resume=True, on_step=lambda state: seen.append(state.step)
    )
    assert seen == [5, 6, 7, 8]


def test_running_out_of_memory_names_batch_and_crop(
    tiles: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Byol, images: torch.Tensor) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")

    monkeypatch.setattr(Byol, "forward", full)
    with pytest.raises(TrainingError, match="batch 4 in 2 parts and crop 32 px"):
        train(tiles, config(tmp_path / "out", accumulate=2))


def test_collapse_stops_with_a_remedy(
    tiles: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "spread", lambda projections: 0.001)
    with pytest.raises(TrainingError, match=r"collapsed in epoch 1: .* lower --learning-rate"):
        train(tiles, config(tmp_path / "out"))


def test_accumulating_learns_from_every_tile_of_the_batch(
    tiles: list[Path], finished: TrainReport, tmp_path: Path
) -> None:
    parts = train(tiles, config(tmp_path / "parts", accumulate=2))
    assert parts.fingerprint != finished.fingerprint  # batch norm sees a part
    assert parts.epochs[0]["loss"] == pytest.approx(finished.epochs[0]["loss"], rel=0.5)


def test_an_uneven_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a batch of 4 cannot be cut into 3 equal parts"):
        config(tmp_path, accumulate=3)


def test_the_reference_recipe_is_the_reference_method() -> None:
    assert (REFERENCE.optimizer, REFERENCE.learning_rate, REFERENCE.weight_decay) == (
        "sgd", 3e-4, 1.5e-6,
    )  # fmt: skip
    assert (REFERENCE.batch, REFERENCE.epochs, REFERENCE.crop_px) == (32, 30, 224)
    assert (REFERENCE.projection, REFERENCE.hidden, REFERENCE.momentum) == (512, 2048, 0.996)


def test_the_reference_recipe_trains(tiles: list[Path], tmp_path: Path) -> None:
    recipe = replace(REFERENCE, crop_px=32, tile_px=48, batch=4, epochs=1, hidden=32, projection=16)
    report = train(tiles, config(tmp_path / "out", recipe))
    assert load_encoder(report.encoder).config.training["recipe"]["name"] == "reference"
    assert 0 < report.epochs[0]["loss"] < 8


def test_effective_rank_counts_directions() -> None:
    square = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]], np.float32)
    assert effective_rank(square) == pytest.approx(2.0)
    assert effective_rank(np.ones((5, 3), np.float32)) == 1.0


def test_spread_is_one_over_the_sphere_and_nought_at_a_point() -> None:
    generator = torch.Generator().manual_seed(0)
    assert spread(torch.randn(4096, 64, generator=generator)) == pytest.approx(1.0, abs=0.01)
    assert spread(torch.ones(16, 64)) == pytest.approx(0.0, abs=1e-6)
