"""Two processes learn as one would from the joined batch."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from histo_index.demo.tiles import write_tiles
from histo_index.encoder.config import EncoderConfig
from histo_index.encoder.decode.preprocessing import Preprocessing
from histo_index.encoder.folder import load_encoder
from histo_index.encoder.runtime.reference import extract_weights
from histo_index.encoder.training.byol import Byol
from tests.encoder.training.team_child import learn

CHILD = Path(__file__).with_name("team_child.py")
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}


def losses_of_two(output: Path, tiles: list[Path]) -> dict[str, Any]:
    """Train in two processes that are told of each other as torchrun tells them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    joined = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [sys.executable, str(CHILD), str(output), *map(str, tiles)]
    done = subprocess.run(
        command, env=ENVIRONMENT | joined, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (line,) = done.stdout.splitlines()  # only the first speaks
    found: dict[str, Any] = json.loads(line)
    assert found["rank"] == 0
    return found


def test_two_gloo_processes_have_the_loss_of_one_on_the_joined_batch(tmp_path: Path) -> None:
    write_tiles(tmp_path / "tiles", tiles_per_category=2, size_px=64)
    tiles = sorted((tmp_path / "tiles").rglob("*.png"))
    alone = learn(tmp_path / "alone", tiles)
    team = losses_of_two(tmp_path / "team", tiles)
    assert len(alone["losses"]) == 2
    # The epoch's figure is the mean over both.
    assert team["epoch"] == pytest.approx(alone["epoch"], rel=5e-3)
    ours, theirs = (
        load_encoder(tmp_path / name).weights["layer1.0.conv1.weight"] for name in ("team", "alone")
    )
    torch.manual_seed(0)
    encoder = EncoderConfig(
        architecture="resnet18", preprocessing=Preprocessing(resize_px=48, crop_px=48)
    )
    start = Byol(encoder, hidden=32, size=16).online.trunk
    moves = [
        weights - extract_weights(start)["layer1.0.conv1.weight"] for weights in (ours, theirs)
    ]
    lengths = [float(np.linalg.norm(move)) for move in moves]
    assert lengths[0] == pytest.approx(lengths[1], rel=0.01)
    assert float((moves[0] * moves[1]).sum()) > 0.999 * lengths[0] * lengths[1]
