"""Rendered tiles and small encoders, made once for all tests of the encoder."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil  # type: ignore[import-untyped]
import pytest
import torch
from PIL import Image

from histo_index.arrays import Float32, Pixels
from histo_index.demo.tiles import CATEGORIES, render_tile
from histo_index.encoder.config import EncoderConfig
from histo_index.encoder.decode.preprocessing import Preprocessing
from histo_index.encoder.folder import EncoderFolder, load_encoder, save_encoder
from histo_index.encoder.runtime.reference import extract_weights, load_trunk
from histo_index.encoder.runtime.untrained import random_weights
from histo_index.encoder.weights_file import Weights
from tests.indexer.conftest import drop_root, open_folder

# Fixtures that the tests of the indexer have too.
__all__ = ["drop_root", "open_folder"]

MakeEncoder = Callable[..., EncoderFolder]
Children = Callable[[], list[psutil.Process]]

SIDE = 64
REAL_TILES = Path(__file__).parents[3] / "shared/data/eval/kather2016/images"


def cosines(left: Float32, right: Float32) -> npt.NDArray[np.float64]:
    """The cosine of each row of one array with the same row of the other, in float64."""
    a, b = left.astype(np.float64), right.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    products: npt.NDArray[np.float64] = np.einsum("bd,bd->b", a, b) / lengths
    return products


def settle(encoder: EncoderFolder, tiles: Pixels) -> EncoderFolder:
    """Move the batch-norm statistics of random weights half way to those of real input.

    That is where seven steps of training bring them. With random ones the features of all tiles
    point the same way, and nothing tells precisions apart.
    """
    trunk = load_trunk(encoder).train()
    for module in trunk.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.5
    with torch.no_grad():
        trunk(torch.from_numpy(tiles))
    return replace(encoder, weights=extract_weights(trunk.eval()))


@pytest.fixture
def children() -> Iterator[Children]:
    """Lists the processes that this test started, zombies too; none may be left behind."""
    before = psutil.Process().children(recursive=True)

    def started() -> list[psutil.Process]:
        now = psutil.Process().children(recursive=True)
        return [process for process in now if process not in before]

    yield started
    assert started() == []


@pytest.fixture(scope="session", autouse=True)
def _one_torch_thread() -> None:
    # Torch's threads wait for each other, which takes many times as long on a busy machine.
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiles() -> Pixels:
    """uint8 RGB [32, SIDE, SIDE, 3]: four of every tissue."""
    return np.stack(
        [render_tile(name, seed=seed, size_px=SIDE) for seed in range(4) for name in CATEGORIES]
    )


@pytest.fixture(scope="session")
def fresh_tiles() -> Pixels:
    """uint8 RGB [16, SIDE, SIDE, 3]: none of them in `tiles`."""
    return np.stack(
        [render_tile(name, seed=seed, size_px=SIDE) for seed in (10, 11) for name in CATEGORIES]
    )


@pytest.fixture(scope="session")
def tile_files(tiles: Pixels, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The tiles as PNG files, in order."""
    folder = tmp_path_factory.mktemp("tiles")
    paths = [folder / f"{number:02d}.png" for number in range(len(tiles))]
    for path, tile in zip(paths, tiles, strict=True):
        Image.fromarray(tile).save(path)
    return paths


@pytest.fixture(scope="session")
def make_encoder(tmp_path_factory: pytest.TempPathFactory) -> MakeEncoder:
    """Write an encoder with random or given weights and small input, and read it back."""

    def make(
        architecture: str = "resnet18",
        *,
        weights: Weights | None = None,
        training: str = "none",
        crop_px: int = SIDE,
        pooling: str = "mean",
    ) -> EncoderFolder:
        folder = tmp_path_factory.mktemp(architecture)
        config = EncoderConfig(
            architecture=architecture,
            pooling=pooling,
            preprocessing=Preprocessing(resize_px=crop_px, crop_px=crop_px),
            training={"method": training},
        )
        chosen = random_weights(architecture, seed=1) if weights is None else weights
        save_encoder(folder / "encoder", config, chosen)
        return load_encoder(folder / "encoder")

    return make


@pytest.fixture(scope="session")
def untrained(make_encoder: MakeEncoder) -> EncoderFolder:
    """A ResNet-18 with random weights."""
    return make_encoder()


@pytest.fixture(scope="session")
def settled(untrained: EncoderFolder, tiles: Pixels, make_encoder: MakeEncoder) -> EncoderFolder:
    """A ResNet-18 whose features differ from tile to tile; it counts as trained."""
    return make_encoder(weights=settle(untrained, tiles).weights, training="settled")
