"""Whole runs on rendered tiles: what they leave, how they go on, what stops them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from histo_index.demo.tiles import write_tiles
from histo_index.encoder.folder import load_encoder
from histo_index.encoder.making import init_encoder
from histo_index.encoder.training import run as run_module
from histo_index.encoder.training.byol import Byol
from histo_index.encoder.training.config import TrainConfig, TrainProgress
from histo_index.encoder.training.parallel import Team
from histo_index.encoder.training.recipes import HISTOLOGY, REFERENCE, Recipe
from histo_index.encoder.training.run import Run
from histo_index.encoder.training.train import TrainReport, train
from histo_index.encoder.training.watch import Monitor, effective_rank, spread
from histo_index.encoder.trunk import random_weights
from histo_index.errors import IndexFormatError, InputError, MismatchError, TrainingError

CHILD = Path(__file__).with_name("child.py")
TINY = replace(HISTOLOGY, crop_px=32, tile_px=48, batch=4, epochs=2, hidden=32, projection=16)


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("tiles")
    write_tiles(folder, tiles_per_category=2, size_px=64)
    return sorted(folder.rglob("*.png"))


def config(output: Path, recipe: Recipe = TINY, **others: object) -> TrainConfig:
    return replace(
        TrainConfig(output=output, recipe=recipe, architecture="resnet18", workers=0),
        **others,  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def finished(tiles: list[Path], tmp_path_factory: pytest.TempPathFactory) -> TrainReport:
    output = tmp_path_factory.mktemp("finished") / "encoder"
    return train(tiles, config(output), data={"licence": "CC0-1.0", "mpp": 0.5})


def weights(folder: Path) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in load_encoder(folder).weights.items()}


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


def test_an_epoch_tells_how_long_it_waited_for_views(
    tiles: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def pass_time(seconds: float) -> None:
        nonlocal now
        now += seconds

    batches, take_step = Run._batches, Run.take_step

    def slow_batches(run: Run) -> Iterator[list[torch.Tensor]]:
        for batch in batches(run):
            pass_time(3.0)
            yield batch

    def slow_step(run: Run, batch: list[torch.Tensor]) -> tuple[float, float]:
        pass_time(9.0)
        return take_step(run, batch)

    monkeypatch.setattr(Run, "_batches", slow_batches)
    monkeypatch.setattr(Run, "take_step", slow_step)
    # A clock of its own: others use the real one.
    monkeypatch.setattr(run_module, "time", SimpleNamespace(monotonic=lambda: now))
    run = Run(config(tmp_path / "out"), tiles, Team.join("cpu"))
    figures = run.train_epoch(lambda state: None)
    assert (figures["waiting"], figures["images_per_second"]) == (0.25, 0.33)


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


@pytest.mark.parametrize("steps", [2, 4, 6])
def test_a_killed_run_ends_with_the_same_weights_bit_for_bit(
    steps: int, tiles: list[Path], finished: TrainReport, tmp_path: Path
) -> None:
    output = tmp_path / "encoder"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(CHILD), str(output), *map(str, tiles)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
    assert child.stdout is not None
    for line in child.stdout:
        if line.strip() == str(steps):
            child.send_signal(signal.SIGKILL)
            break
    assert child.wait() == -signal.SIGKILL
    child.stdout.close()
    with pytest.raises(InputError, match="holds an interrupted run; pass --resume"):
        train(tiles, config(output))
    seen: list[int] = []
    report = train(tiles, config(output), resume=True, tell=lambda state: seen.append(state.step))
    assert seen[0] > 1
    assert weights(output) == weights(finished.encoder)
    assert report.epochs[1]["effective_rank"] == finished.epochs[1]["effective_rank"]
    assert not (output / "checkpoint.pt").exists()


def test_resuming_another_run_is_refused(tiles: list[Path], tmp_path: Path) -> None:
    interrupt_after(1, tiles, config(tmp_path / "out", checkpoint_every_s=0.0))
    with pytest.raises(MismatchError, match="made with other recipe, seed"):
        train(
            tiles,
            config(tmp_path / "out", replace(TINY, learning_rate=1e-2), seed=5),
            resume=True,
        )


def test_resuming_a_run_of_an_earlier_release_is_refused(tiles: list[Path], tmp_path: Path) -> None:
    interrupt_after(1, tiles, config(tmp_path / "out", checkpoint_every_s=0.0))
    path = tmp_path / "out" / "checkpoint.pt"
    state = torch.load(path, weights_only=True)
    state["byol"]["online.trunk.network.layer4.0.conv1.weight"] = torch.zeros(512, 256, 3, 3)
    torch.save(state, path)
    with pytest.raises(MismatchError, match="out: begun by a release with another network"):
        train(tiles, config(tmp_path / "out"), resume=True)


def test_nothing_to_resume_and_a_damaged_checkpoint_are_told(
    tiles: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(IndexFormatError, match="nothing to resume"):
        train(tiles, config(tmp_path / "out"), resume=True)
    (tmp_path / "out" / "checkpoint.pt").write_bytes(b"no checkpoint")
    with pytest.raises(IndexFormatError, match="cannot be read"):
        train(tiles, config(tmp_path / "out"), resume=True)


def interrupt_after(step: int, tiles: list[Path], given: TrainConfig) -> None:
    def stop(state: TrainProgress) -> None:
        if state.step > step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tiles, given, tell=stop)


def test_the_best_epoch_by_the_monitor_is_kept(tiles: list[Path], tmp_path: Path) -> None:
    figures = iter([0.9, 0.4, 0.6])
    monitor = Monitor(
        name="labels.csv",
        images=[np.zeros((48, 48, 3), np.uint8)] * 2,
        judge=lambda embeddings: {
            "auc": next(figures),
            "threshold": 0.25,
            "diffused_threshold": 1.5,
        },
        decisive="auc",
    )
    report = train(tiles, config(tmp_path / "out", replace(TINY, epochs=3)), monitor=monitor)
    assert report.best_epoch == 1
    assert load_encoder(tmp_path / "out" / "best").config.training["epochs"] == 1
    last = load_encoder(tmp_path / "out").config
    assert last.training["epochs"] == 3
    assert last.threshold is not None
    assert (last.threshold.value, "labels.csv" in last.threshold.origin) == (0.25, True)
    assert last.whitened_threshold is None
    assert last.diffused_threshold is not None
    assert last.diffused_threshold.value == 1.5
    # Only looked at: the same weights as without it.
    plain = train(tiles, config(tmp_path / "plain", replace(TINY, epochs=3)))
    assert plain.fingerprint == report.fingerprint


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
    train(tiles, config(tmp_path / "out"), resume=True, tell=lambda state: seen.append(state.step))
    assert seen == [5, 6, 7, 8]


def test_running_out_of_memory_names_batch_and_crop(
    tiles: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Byol, images: torch.Tensor) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")

    monkeypatch.setattr(Byol, "forward", full)
    with pytest.raises(TrainingError, match="batch 4 in 2 parts and crop 32 px"):
        train(tiles, config(tmp_path / "out", accumulate=2))


def test_collapse_stops_with_what_to_change(
    tiles: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "spread", lambda projections: 0.001)
    with pytest.raises(TrainingError, match=r"collapsed in epoch 1: .* lower --learning-rate"):
        train(tiles, config(tmp_path / "out"))


def test_accumulating_learns_from_every_tile_of_the_batch(
    tiles: list[Path], tmp_path: Path
) -> None:
    whole = train(tiles, config(tmp_path / "whole", replace(TINY, epochs=1)))
    parts = train(tiles, config(tmp_path / "parts", replace(TINY, epochs=1), accumulate=2))
    assert parts.fingerprint != whole.fingerprint  # batch norm sees a part
    assert parts.epochs[0]["loss"] == pytest.approx(whole.epochs[0]["loss"], rel=0.5)


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
