"""Keep the embeddings of baselines beside the search files, so that they are computed once.

They belong to one generation of an index and go with it. A cache that is missing, damaged or of
another encoder is no error: the embeddings are computed again.
"""

import io
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from histo_index.arrays import Float32, Int64
from histo_index.files import publish_bytes
from histo_index.indexer.format.checksums import checksum
from histo_index.indexer.format.vector_file import BASELINES_NAME
from histo_index.indexer.reader import OpenIndex

_DIGITS: Final = 32


@dataclass(frozen=True, kw_only=True)
class BaselineVectors:
    """The embeddings of both baselines.

    Attributes:
        rows: int64 [n], ascending: the tiles.
        colours: float32 [n, 512].
        randoms: float32 [n, D].
    """

    rows: Int64
    colours: Float32
    randoms: Float32

    @classmethod
    def none(cls) -> "BaselineVectors":
        """Return those of no tile."""
        nothing = np.empty((0, 0), np.float32)
        return cls(rows=np.empty(0, np.int64), colours=nothing, randoms=nothing)

    def add(self, rows: Int64, colours: Float32, randoms: Float32) -> "BaselineVectors":
        """Return these and further ones."""
        if len(self.rows):
            rows = np.concatenate([self.rows, rows])
            colours = np.concatenate([self.colours, colours])
            randoms = np.concatenate([self.randoms, randoms])
        order = np.argsort(rows)
        return BaselineVectors(rows=rows[order], colours=colours[order], randoms=randoms[order])

    def take(self, rows: Int64) -> tuple[Float32, Float32]:
        """Return the colours and the random embeddings of tiles, all of them known."""
        numbers = np.searchsorted(self.rows, rows)
        return self.colours[numbers], self.randoms[numbers]


def read_cache(index: OpenIndex, made_by: str) -> BaselineVectors | None:
    """Read the cache of a generation; None if it cannot be used.

    Args:
        index: the index.
        made_by: what computes the embeddings: others are not used.
    """
    with suppress(OSError, ValueError, KeyError):
        data = _path(index).read_bytes()
        if checksum(memoryview(data)[_DIGITS:]).encode() != data[:_DIGITS]:
            return None
        arrays = np.load(io.BytesIO(data[_DIGITS:]))
        if str(arrays["made_by"]) == made_by:
            return BaselineVectors(
                rows=arrays["rows"], colours=arrays["colours"], randoms=arrays["randoms"]
            )
    return None


def write_cache(index: OpenIndex, made_by: str, vectors: BaselineVectors) -> None:
    """Write the cache of a generation; nothing where the index is replaced or cannot be written."""
    path = _path(index)
    if not path.parent.is_dir():
        return
    body = io.BytesIO()
    np.savez(body, made_by=made_by, **vars(vectors))
    data = body.getvalue()
    with suppress(OSError):
        publish_bytes(path, checksum(data).encode() + data)


def _path(index: OpenIndex) -> Path:
    return (index.folder / index.manifest.files["vectors"].path).with_name(BASELINES_NAME)
