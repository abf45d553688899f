"""An index whose every name is hostile or private, judged once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from PIL import Image

from histo_index.indexer.reader import OpenIndex
from histo_index.search.calibration.calibrate import calibrate
from histo_index.search.calibration.calibration import Calibration
from histo_index.search.calibration.objectives import Objective
from histo_index.search.calibration.threshold import Threshold
from histo_index.search.evaluation.evaluate import evaluate
from histo_index.search.evaluation.result import Evaluation
from histo_index.search.inputs.labelled_pairs import make_labelled_pairs
from histo_index.search.inputs.labels import read_labels
from tests.search.classes import CLASSES, GROUPS, TILES, class_vectors
from tests.vectors import build_numbered, unit_vectors

KINDS: Final = {
    CLASSES[0]: "<script>alert(1)</script>",
    CLASSES[1]: "'><img src=x onerror=alert(2)>",
    CLASSES[2]: r"$\frac{ & </title>",
}
PATIENT: Final = "Erika Mustermann"


@dataclass(frozen=True, kw_only=True)
class Judged:
    """An index, its evaluation, and the folder of its tiles; the first tile's file is gone."""

    index: OpenIndex
    found: Evaluation
    calibration: Calibration
    tiles: Path
    names: list[str]


@pytest.fixture(scope="session")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Judged:
    folder = tmp_path_factory.mktemp("private folder")
    vectors, labels, groups = class_vectors(0.35)
    names = [f"<b onclick=alert(3)>{tile:02d}.png" for tile in range(TILES)]
    rows = [
        f',"{KINDS[label]}",{PATIENT} {group}' for label, group in zip(labels, groups, strict=True)
    ]
    path, _ = build_numbered(folder, vectors, names, columns=",label,patient", rows=rows)
    draw_tiles(folder / "tiles", names[1:])
    (folder / "tiles" / names[0]).unlink()
    index = OpenIndex(path)
    dataset = make_labelled_pairs(index, read_labels(index, group="patient"), None)
    calibration = calibrate(index, dataset, Objective(), group="patient")
    found = evaluate(
        index,
        dataset,
        Threshold.choose(None, None, calibration),
        baselines={
            "colour histogram": class_vectors(2.0, seed=5)[0][dataset.rows],
            "random weights": unit_vectors(TILES, 16, seed=7)[dataset.rows],
        },
    )
    assert len(found.dataset.group_names) == GROUPS
    return Judged(
        index=index, found=found, calibration=calibration, tiles=folder / "tiles", names=names
    )


def draw_tiles(folder: Path, names: list[str]) -> None:
    """Put pictures in place of the numbers that the tiles were built from."""
    generator = np.random.default_rng(0)
    for name in names:
        pixels = generator.integers(0, 255, (12, 16, 3), np.uint8)
        Image.fromarray(pixels).save(folder / name)
