"""Rendered tiles, a tiny recipe, and a run of it that nothing interrupted."""

from dataclasses import replace
from pathlib import Path

import pytest

from histo_index.demo.tiles import write_tiles
from histo_index.encoder.folder import load_encoder
from histo_index.encoder.training.config import TrainConfig
from histo_index.encoder.training.recipes import HISTOLOGY, Recipe
from histo_index.encoder.training.train import TrainReport, train

TINY = replace(HISTOLOGY, crop_px=32, tile_px=48, batch=4, epochs=2, hidden=32, projection=16)


def config(output: Path, recipe: Recipe = TINY, **others: object) -> TrainConfig:
    return replace(
        TrainConfig(output=output, recipe=recipe, architecture="resnet18", workers=0),
        **others,  # type: ignore[arg-type]
    )


def weights(folder: Path) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in load_encoder(folder).weights.items()}


@pytest.fixture(scope="session")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("tiles")
    write_tiles(folder, tiles_per_category=2, size_px=64)
    return sorted(folder.rglob("*.png"))


@pytest.fixture(scope="session")
def finished(tiles: list[Path], tmp_path_factory: pytest.TempPathFactory) -> TrainReport:
    output = tmp_path_factory.mktemp("finished") / "encoder"
    return train(tiles, config(output), data={"licence": "CC0-1.0", "mpp": 0.5})
