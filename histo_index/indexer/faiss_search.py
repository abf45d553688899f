"""The only file that knows FAISS: an exact flat index over the stored float16 vectors.

FAISS's float16 scalar quantizer keeps exactly the numbers of the shards, in half the memory of its
float32 flat index and three times as fast for a single query (69 to 24 queries/s measured at
50,000 × 2048 on two cores).
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Protocol

import faiss
import numpy as np
import numpy.typing as npt

from histo_index.errors import IndexFormatError

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# A damaged file must not make FAISS allocate: nothing in it is larger than the file itself.
_ALLOCATION_FACTOR: Final = 2
_REMEDY: Final = "run `histo-index reindex`"


class Structure(Protocol):
    """Something that finds candidates for the nearest rows."""

    def search(self, queries: Floats, count: int, allowed: Bools | None = None) -> Rows:
        """Give the rows nearest to each query.

        Args:
            queries: float32 [Q, D].
            count: how many.
            allowed: bool [N], which rows may come back; None is all.

        Returns:
            int64 [Q, count], -1 where there are fewer.
        """


class FlatStructure:
    """Exact search on the CPU, or on a GPU where FAISS has one; filters run on the CPU."""

    def __init__(self, index: Any, *, gpu: bool = False) -> None:
        self._index = index
        self._fastest = on_gpu(index) if gpu and gpu_count() else index

    def search(self, queries: Floats, count: int, allowed: Bools | None = None) -> Rows:
        """Give the rows nearest to each query; see `Structure`."""
        found: Rows
        if allowed is None:
            _, found = self._fastest.search(queries, count)
        else:
            bits = np.packbits(allowed, bitorder="little")
            # FAISS's stubs know neither of the forms that its Python layer takes.
            selector = faiss.IDSelectorBitmap(bits)  # type: ignore[call-arg,arg-type]
            parameters = faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]
            _, found = self._index.search(queries, count, params=parameters)
        return found


def build_flat(blocks: Iterable[npt.NDArray[np.float16]], size: int) -> Any:
    """Put float16 [n, D] blocks into a FAISS index, in row order."""
    index = faiss.IndexScalarQuantizer(size, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_L2)
    for block in blocks:
        index.add_sa_codes(np.ascontiguousarray(block).view(np.uint8))
    return index


def write_flat(
    path: Path, blocks: Iterable[npt.NDArray[np.float16]], *, rows: int, size: int
) -> None:
    """Write the structure of float16 [n, D] blocks, in row order, one block in memory at a time.

    Byte for byte what FAISS writes for `build_flat`, which would hold every vector at once: its
    file ends in the length of the codes and the codes.

    Args:
        path: where to write.
        blocks: N rows in all.
        rows: N.
        size: D.
    """
    empty = build_flat([], size)
    empty.ntotal = rows
    head = faiss.serialize_index(empty).tobytes()
    no_codes = (0).to_bytes(8, "little")
    assert head.endswith(no_codes), "FAISS has changed its file format"
    with open(path, "wb") as file:
        file.write(head.removesuffix(no_codes) + (rows * size * 2).to_bytes(8, "little"))
        for block in blocks:
            file.write(np.ascontiguousarray(block).data)


def read_flat(path: Path, data: Any, *, rows: int, size: int, gpu: bool) -> FlatStructure:
    """Load the structure from bytes whose checksum was verified.

    Args:
        path: how messages call the file.
        data: its bytes.
        rows: N, as the manifest says.
        size: D.
        gpu: move it to the first GPU if FAISS can.

    Raises:
        IndexFormatError: the bytes are not such a structure.
    """
    buffer = np.frombuffer(data, np.uint8)
    faiss.set_deserialization_vector_byte_limit(_ALLOCATION_FACTOR * len(buffer))
    try:
        index = faiss.deserialize_index(buffer)
    except (RuntimeError, MemoryError) as error:
        reason = " ".join(str(error).split())[-160:]
        raise IndexFormatError(f"{path}: not a FAISS index ({reason}); {_REMEDY}") from error
    if (index.ntotal, index.d) != (rows, size):
        raise IndexFormatError(
            f"{path}: holds {index.ntotal} vectors of {index.d}, expected {rows} of {size}; "
            f"{_REMEDY}"
        )
    if not _is_flat(index):
        raise IndexFormatError(f"{path}: not an exact index of float16 vectors; {_REMEDY}")
    return FlatStructure(index, gpu=gpu)


def _is_flat(index: Any) -> bool:
    """Tell whether an index is as `build_flat` makes it: FAISS searches without looking."""
    if not isinstance(index, faiss.IndexScalarQuantizer):
        return False
    quantizer, code_size = index.sq, 2 * index.d
    return (
        index.metric_type == faiss.METRIC_L2
        and quantizer.qtype == faiss.ScalarQuantizer.QT_fp16
        and (quantizer.d, quantizer.code_size, index.code_size) == (index.d, code_size, code_size)
        and index.codes.size() == index.ntotal * code_size
    )


def gpu_count() -> int:
    """Count the GPUs that this build of FAISS can use."""
    return int(faiss.get_num_gpus()) if hasattr(faiss, "StandardGpuResources") else 0


def faiss_version() -> str:
    """Tell FAISS's version and how it was compiled."""
    return f"{faiss.__version__} ({faiss.get_compile_options().strip()})"


def on_gpu(index: Any) -> Any:
    """Copy the vectors to the first GPU, kept there as float16."""
    resources = faiss.StandardGpuResources()
    options = faiss.GpuIndexFlatConfig()
    options.useFloat16 = True
    gpu_index = faiss.GpuIndexFlatL2(resources, index.d, options)
    step = 65_536
    for start in range(0, index.ntotal, step):
        gpu_index.add(index.reconstruct_n(start, min(step, index.ntotal - start)))
    return gpu_index
