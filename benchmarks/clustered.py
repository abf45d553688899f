"""Build an index of clustered vectors without tiles, through real shards and a real commit."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import measuring
import numpy as np
import pyarrow as pa

from histo_index.arrays import Float16, Float32
from histo_index.indexer.format.encoder_card import EncoderCard
from histo_index.indexer.format.manifest import read_manifest
from histo_index.indexer.format.records import PLAIN, SearchConfig, Settings, read_record
from histo_index.indexer.format.shards import (
    Receipt,
    record_file,
    shard_path,
    write_receipt,
    write_shard,
)
from histo_index.indexer.writing.commit import commit
from histo_index.indexer.writing.draft import draft_manifest

_SHARD_ROWS: Final = 16_384
# Directions that hold nearly all variance, falling as those of a trained network's embeddings do.
_DIRECTIONS: Final = 256
_FALL: Final = 0.7
_NOISE: Final = 0.3


class Clusters:
    """Draws unit vectors around centres; the same seed gives the same centres."""

    def __init__(self, *, count: int, size: int, spread: float, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        directions = min(_DIRECTIONS, size)
        basis, _ = np.linalg.qr(rng.standard_normal((size, directions)))
        scale = np.arange(1, directions + 1) ** -_FALL
        self._basis: Float32 = (basis.T * scale[:, None]).astype(np.float32)
        self._centres = rng.standard_normal((count, directions), np.float32)
        self._spread = spread

    def draw(self, rows: int, *, seed: int) -> Float16:
        """Draw vectors: float16 [rows, D], rows of length 1."""
        rng = np.random.default_rng(seed)
        centres = self._centres[rng.integers(0, len(self._centres), rows)]
        near = centres + self._spread * rng.standard_normal(centres.shape, np.float32)
        size = self._basis.shape[1]
        vectors = near @ self._basis
        vectors += _NOISE / np.sqrt(size) * rng.standard_normal(vectors.shape, np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors.astype(np.float16)


def prepare_index(
    folder: Path, clusters: Clusters, *, rows: int, size: int, structure: str | None = None
) -> Path:
    """Make an index of drawn vectors, unless it is there; see `make_clustered_index`."""
    index = folder / "tiles.hx"
    if not index.exists():
        folder.mkdir(parents=True, exist_ok=True)
        make_clustered_index(folder, clusters, rows=rows, size=size, structure=structure)
    found = read_manifest(index).tiles
    assert found == rows, f"{index} holds {found} vectors"
    return index


def make_clustered_index(
    folder: Path, clusters: Clusters, *, rows: int, size: int, structure: str | None = None
) -> Path:
    """Write shards of drawn vectors and commit them; `percent` is a column of 0…99 at random."""
    index = folder / "tiles.hx"
    encoder = measuring.SyntheticEncoder(folder / "encoder", size=size)
    receipts = []
    for shard, start in enumerate(range(0, rows, _SHARD_ROWS)):
        count = min(_SHARD_ROWS, rows - start)
        measuring.tell(f"drawing {start + count:,} of {rows:,}")
        shard_id = f"{shard:032x}"
        vectors = clusters.draw(count, seed=1 + shard)
        file = write_shard(index, shard_id, _facts(start, count), vectors)
        path = shard_path(index, shard_id)
        receipt = Receipt(
            shard_id=shard_id,
            fingerprint=encoder.fingerprint,
            max_pixels=encoder.max_pixels,
            rows=count,
            file=file or record_file(index, path),
            rejected=(),
            runtime=encoder.describe(),
        )
        write_receipt(path.with_suffix(".json"), receipt)
        receipts.append(receipt)
    draft = draft_manifest(
        index,
        receipts,
        encoder=read_record(EncoderCard, encoder.card()),
        encoder_files={},
        rejected=0,
        sources=(),
        settings=Settings(
            shard_rows=_SHARD_ROWS,
            max_pixels=encoder.max_pixels,
            root="..",
            search=SearchConfig(structure=structure),
            distance=PLAIN,
            private=(),
        ),
    )
    commit(index, draft, current=None, rejected=[])
    return index


def _facts(start: int, count: int) -> pa.Table:
    names = [measuring.tile_name(row) for row in range(start, start + count)]
    percent = np.random.default_rng(start).integers(0, 100, count)
    return pa.table(
        {
            "image_id": names,
            "path": names,
            "sha256": [hashlib.sha256(name.encode()).hexdigest() for name in names],
            "width": pa.array([256] * count, pa.int32()),
            "height": pa.array([256] * count, pa.int32()),
            "note": pa.nulls(count, pa.string()),
            "percent": percent,
        }
    )


def blocks_of(matrix: Float16) -> Iterator[Float16]:
    """Give the rows some thousands at a time."""
    for start in range(0, len(matrix), _SHARD_ROWS):
        yield matrix[start : start + _SHARD_ROWS]
