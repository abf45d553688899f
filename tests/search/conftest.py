"""Small indexes that the search tests share."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from histo_index.arrays import Float32
from histo_index.indexer.reader import OpenIndex
from histo_index.search.calibration.calibrate import calibrate
from histo_index.search.calibration.calibration import Calibration
from histo_index.search.calibration.objectives import Objective
from histo_index.search.inputs.labelled_pairs import make_labelled_pairs
from histo_index.search.inputs.labels import read_labels
from histo_index.search.inputs.resolve import Resolver
from tests.search.classes import Classes, build_classes, class_vectors
from tests.vectors import NumberEncoder, build_numbered, unit_vectors

# Tiles 0 to 5 are indexed; vectors 6 and 7 belong to files that are not.
NAMES = ("s1/a.png", "s1/b.png", "s2/a.png", "s2/c.png", "d.png", "e_1.png")


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """An index of six numbered tiles, its encoder, and every vector rounded as it is stored."""

    index: OpenIndex
    encoder: NumberEncoder
    resolver: Resolver
    vectors: Float32
    tiles: Path


@pytest.fixture
def numbers(tmp_path: Path) -> Numbers:
    vectors = unit_vectors(8, 16)
    folder, encoder = build_numbered(
        tmp_path, vectors, NAMES, columns=",label", rows=[f",class-{n % 2}" for n in range(6)]
    )
    encoder.encoded.clear()
    tiles = tmp_path / "tiles"
    (tiles / "new.png").write_text("6")
    (tiles / "copy-of-new.png").write_text("6")
    (tiles / "newer.png").write_text("7")
    (tiles / "broken.png").write_text("no number")
    (tiles / "copy-of-d.png").write_text("4")
    index = OpenIndex(folder)
    return Numbers(
        index=index,
        encoder=encoder,
        resolver=Resolver(index, encoder.encode_files, root=tiles),
        vectors=vectors.astype(np.float16).astype(np.float32),
        tiles=tiles,
    )


@pytest.fixture(scope="session")
def finished_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classes")
    build_classes(folder)
    return folder


@pytest.fixture
def classes(finished_classes: Path, tmp_path: Path) -> Classes:
    """A copy of the index of three classes, to be calibrated at will."""
    shutil.copytree(finished_classes, tmp_path, dirs_exist_ok=True)
    vectors, labels, groups = class_vectors(0.2)
    return Classes(
        index=OpenIndex(tmp_path / "tiles.hx"),
        vectors=vectors,
        names=[f"t{tile:02d}.png" for tile in range(len(labels))],
        labels=labels,
        groups=groups,
    )


@pytest.fixture(scope="session")
def calibration(finished_classes: Path) -> Calibration:
    index = OpenIndex(finished_classes / "tiles.hx")
    dataset = make_labelled_pairs(index, read_labels(index, group="patient"), None)
    return calibrate(index, dataset, Objective(), group="patient")
