"""The files of `search/<generation>/`: their names, and the layout of `vectors.npy`."""

from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from histo_index.arrays import Float16

FOLDER: Final = "search"


# Role in the manifest to name in `search/<generation>/`.
FILE_NAMES: Final = {
    "rows": "rows.arrow",
    "vectors": "vectors.npy",
    "blocks": "blocks.npy",
    "candidates": "candidates.faiss",
}


# 1 MB of 2048-d float16: hashed in 40 µs, so a pair look-up pays 0.1 ms and a full scan 4 %.
BLOCK_ROWS: Final = 256
# Beside them: a cache of `evaluate`, which the manifest does not name.
BASELINES_NAME: Final = "baselines.npz"


def block_checksum(block: Float16) -> int:
    """Hash up to BLOCK_ROWS rows of the vectors: XXH3-64."""
    return xxhash.xxh3_64_intdigest(np.ascontiguousarray(block).data.cast("B"))


class BlockHasher:
    """Hashes vectors that come in parts of any length, block by block."""

    def __init__(self) -> None:
        """Begin before the first row."""
        self._found: list[int] = []
        self._left: list[Float16] = []

    def add(self, vectors: Float16) -> None:
        """Hash the next rows: float16 [n, V]."""
        rows = np.concatenate([*self._left, vectors]) if self._left else vectors
        whole = len(rows) - len(rows) % BLOCK_ROWS
        for start in range(0, whole, BLOCK_ROWS):
            self._found.append(block_checksum(rows[start : start + BLOCK_ROWS]))
        self._left = [rows[whole:].copy()] if whole < len(rows) else []

    def finish(self) -> npt.NDArray[np.uint64]:
        """Return the checksum of each block, the last with fewer rows: uint64 [blocks]."""
        return np.array([*self._found, *map(block_checksum, self._left)], np.uint64)


def file_names(paths: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the last part of each path."""
    import pyarrow.compute as pc  # here, because a look-up by id needs none of it

    return pc.replace_substring_regex(paths, r"(?s)^.*/", "")


def npy_header(shape: tuple[int, int]) -> bytes:
    """Format the header of `vectors.npy`, numpy's format 1.0: the same bytes for a shape.

    A reader compares it instead of parsing it.
    """
    text = f"{{'descr': '<f2', 'fortran_order': False, 'shape': ({shape[0]}, {shape[1]}), }}"
    length = -(-(10 + len(text) + 1) // 64) * 64 - 10
    return b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little") + f"{text:<{length - 1}}\n".encode()
