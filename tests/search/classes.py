"""An index of tiles of three classes in eight groups; vectors are drawn around class means."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from histo_index.arrays import Float32
from histo_index.indexer.reader import OpenIndex
from tests.vectors import build_numbered, unit_vectors

CLASSES = ("fat", "gland", "stroma")
TILES = 96
GROUPS = 8


@dataclass(frozen=True, kw_only=True)
class Classes:
    """The index, its vectors, and what its tiles are: `label` and `patient` are columns of it."""

    index: OpenIndex
    vectors: Float32
    names: list[str]
    labels: list[str]
    groups: list[str]


def class_vectors(spread: float, *, seed: int = 0) -> tuple[Float32, list[str], list[str]]:
    """Draw vectors [TILES, 16] of length 1, the class and the group of each."""
    generator = np.random.default_rng(seed)
    labels = [CLASSES[tile % 3] for tile in range(TILES)]
    groups = [f"patient-{tile % GROUPS}" for tile in range(TILES)]
    means = unit_vectors(3, 16, seed=seed)
    offsets = 0.3 * generator.standard_normal((GROUPS, 16))
    vectors = np.stack(
        [
            means[tile % 3] + spread * (offsets[tile % GROUPS] + generator.standard_normal(16))
            for tile in range(TILES)
        ]
    )
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit, labels, groups


def build_classes(folder: Path, *, spread: float = 0.2) -> Classes:
    """Build the index with the real build."""
    vectors, labels, groups = class_vectors(spread)
    names = [f"t{tile:02d}.png" for tile in range(TILES)]
    rows = [f",{label},{group}" for label, group in zip(labels, groups, strict=True)]
    path, _ = build_numbered(folder, vectors, names, columns=",label,patient", rows=rows)
    return Classes(
        index=OpenIndex(path), vectors=vectors, names=names, labels=labels, groups=groups
    )
