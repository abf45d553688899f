"""An index of chosen vectors, made by the real build: a tile file holds its vector's number."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from histo_index.arrays import Float32
from histo_index.errors import ImageError
from histo_index.indexer.build import build
from histo_index.indexer.build_config import BuildConfig
from histo_index.indexer.hashing.files import hash_file


@dataclass(frozen=True, kw_only=True)
class Numbered:
    """An encoded tile."""

    embedding: Float32
    sha256: str
    width: int = 4
    height: int = 3
    note: str | None = None


class NumberEncoder:
    """Encodes a file to the vector whose number it holds, and keeps count."""

    fingerprint = "f" * 32
    max_pixels = 1000

    def __init__(self, vectors: Float32, folder: Path) -> None:
        self.vectors = vectors
        self.embedding_size = vectors.shape[1]
        self.folder = folder
        self.encoded: list[str] = []
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text("{}")

    def card(self) -> Mapping[str, Any]:
        return {
            "fingerprint": self.fingerprint,
            "architecture": "numbers",
            "embedding_size": self.embedding_size,
            "is_trained": True,
            "mpp": None,
            "threshold": {"value": 0.5, "origin": "chosen for tests"},
            "diffused_threshold": None,
            "licence": None,
            "declared": None,
        }

    def describe(self) -> Mapping[str, str]:
        return {"name": "numbers", "device": "cpu", "precision": "float32"}

    def encode_files(self, paths: Iterable[Path]) -> Iterator[Numbered | ImageError]:
        for path in paths:
            self.encoded.append(path.name)
            try:
                vector = self.vectors[int(path.read_text())]
            except ValueError:
                yield ImageError(f"{path}: not an image: no number in it")
            else:
                yield Numbered(embedding=vector, sha256=hash_file(path))


def unit_vectors(count: int, size: int, *, seed: int = 0) -> Float32:
    """Draw directions: float32 [count, size], rows of length 1."""
    vectors = np.random.default_rng(seed).standard_normal((count, size)).astype(np.float32)
    unit: Float32 = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def sorted_rows(
    queries: npt.NDArray[np.floating],
    vectors: npt.NDArray[np.floating],
    allowed: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.int64]:
    """Sort all rows by distance, the plain form: int64 [Q, N]; those not allowed come last."""
    gaps = queries[:, None].astype(np.float64) - vectors[None].astype(np.float64)
    distances = (gaps**2).sum(axis=2)
    if allowed is not None:
        distances[:, ~allowed] = np.inf
    return np.argsort(distances, axis=1, kind="stable")


def build_numbered(
    folder: Path,
    vectors: Float32,
    names: Sequence[str],
    *,
    columns: str = "",
    rows: Sequence[str] = (),
    contents: Sequence[int] | None = None,
) -> tuple[Path, NumberEncoder]:
    """Write a tile file per name and build an index of them.

    File i holds the number of its vector: `contents[i]`, or i.

    Returns:
        The index folder and the encoder that made it.
    """
    tiles = folder / "tiles"
    for number, name in zip(contents or range(len(names)), names, strict=True):
        (tiles / name).parent.mkdir(parents=True, exist_ok=True)
        (tiles / name).write_text(str(number))
    manifest = tiles / "manifest.csv"
    extras = rows or [""] * len(names)
    lines = [
        f"path{columns}",
        *(f"{name}{extra}" for name, extra in zip(names, extras, strict=True)),
    ]
    manifest.write_text("\n".join(lines) + "\n")
    encoder = NumberEncoder(vectors, folder / "encoder")
    build(BuildConfig(sources=[], output=folder / "tiles.hx", manifest=manifest), encoder)
    return folder / "tiles.hx", encoder
