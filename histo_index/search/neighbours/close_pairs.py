"""Every pair of tiles closer than a threshold: exact, in memory that does not grow with the pairs.

An orthonormal projection never makes two vectors lie further apart. So each pair is first looked at
in a few dimensions, and only those that are close there are measured in all of them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from histo_index.arrays import Float32, Int64
from histo_index.errors import InputError
from histo_index.files import publishing
from histo_index.indexer.nearest.kernel import row_distances, to_float32
from histo_index.indexer.reader import OpenIndex
from histo_index.progress import report

_DIRECTIONS: Final = 64
# Rows that the directions are taken from; which ones decides the speed and never the answer.
_SAMPLE: Final = 4096
_STEPS: Final = 3
# Rows by rows at a time: 34 MB of distances.
_BLOCK: Final = (1024, 8192)
# What float32 may lose in squared distances between vectors of length 1.
_ROUNDING: Final = 1e-4
_SCHEMA: Final = pa.schema(
    [("image_a", pa.string()), ("image_b", pa.string()), ("distance", pa.float32())]
)


def close_pairs(
    index: OpenIndex,
    threshold: float,
    *,
    directions: int = _DIRECTIONS,
    block: tuple[int, int] = _BLOCK,
) -> Iterator[tuple[Int64, Int64, Float32]]:
    """Find every pair of tiles that are at most so far apart.

    Args:
        index: whose tiles.
        threshold: squared distance, 0…4.
        directions: dimensions of the projection.
        block: rows by rows compared at a time.

    Yields:
        int64 [P] twice, the smaller row first, and float32 [P]; each pair once, in no order.

    Raises:
        InputError: the threshold is no distance.
        IndexFormatError: a vector is damaged.
    """
    if not 0 <= threshold <= 4:
        raise InputError(f"threshold is {threshold}; expected a distance from 0 to 4")
    index.verify(np.arange(len(index)))
    short = _project(index, directions)
    squares = np.einsum("nd,nd->n", short, short)
    for top in range(0, len(short), block[0]):
        report("comparing", top, len(short))
        upper = slice(top, top + block[0])
        for start in range(top, len(short), block[1]):
            lower = slice(start, start + block[1])
            gaps = short[upper] @ short[lower].T
            gaps *= -2
            gaps += squares[upper, None]
            gaps += squares[lower]
            left, right = np.nonzero(gaps <= threshold + _ROUNDING)
            left, right = left + top, right + start
            is_once = left < right
            left, right = left[is_once], right[is_once]
            distances = row_distances(index.matrix, index.matrix, left_rows=left, right_rows=right)
            is_close = distances <= threshold
            if index.is_live is not None:
                is_close &= index.is_live[left] & index.is_live[right]
            if is_close.any():
                yield left[is_close], right[is_close], distances[is_close]


def write_close_pairs(index: OpenIndex, threshold: float, path: Path) -> int:
    """Stream every close pair to Parquet: `image_a`, `image_b`, `distance`; see `close_pairs`.

    Returns:
        How many there are.
    """
    ids, count = index.rows["image_id"].combine_chunks(), 0
    with publishing(path) as temporary, pq.ParquetWriter(temporary, _SCHEMA) as writer:
        for left, right, distances in close_pairs(index, threshold):
            names = [ids.take(pa.array(rows)) for rows in (left, right)]
            writer.write_table(pa.table([*names, pa.array(distances)], schema=_SCHEMA))
            count += len(distances)
    return count


def _project(index: OpenIndex, directions: int) -> Float32:
    """Project all vectors on the directions in which they differ most: float32 [N, directions]."""
    rows = np.linspace(0, len(index) - 1, min(_SAMPLE, len(index))).astype(np.int64)
    basis = principal_directions(to_float32(index.matrix[rows]), directions)
    parts = [
        to_float32(index.matrix[start : start + _BLOCK[1]]) @ basis
        for start in range(0, len(index), _BLOCK[1])
    ]
    return np.concatenate(parts)


def principal_directions(sample: Float32, directions: int) -> Float32:
    """Compute the directions in which a sample, float32 [n, D], varies most: float32 [D, d].

    A few steps of subspace iteration: a tenth of the time of all eigenvectors.

    Source: Halko, Martinsson and Tropp (2011), Finding structure with randomness, algorithm 4.4.
    """
    centred = sample - sample.mean(axis=0)
    shape = (sample.shape[1], min(directions, sample.shape[1]))
    basis = np.random.default_rng(0).standard_normal(shape, np.float32)
    for _ in range(_STEPS):
        basis, _ = np.linalg.qr(centred.T @ (centred @ basis))
    return basis
