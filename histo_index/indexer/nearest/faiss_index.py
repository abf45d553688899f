"""Train, write and read ANN indexes of any FAISS factory string."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import faiss
import numpy as np

from histo_index.arrays import Float16, Float32
from histo_index.errors import IndexFormatError, InputError
from histo_index.indexer.nearest.exact import ask, one_thread, parts_of, search_parameters
from histo_index.wording import printable

# A damaged file must not make FAISS allocate: nothing in it is larger than the file itself.
_ALLOCATION_FACTOR: Final = 2
_BYTES_PER_PART: Final = 64
_REMEDY: Final = "run `histo-index reindex`"
# Float32 rows in memory at a time: 64 MB at 2048.
_BLOCK: Final = 8192
# Rows that a transformation such as PCA is learnt from: 10 for each of 2048 dimensions, 164 MB.
_TRANSFORM_ROWS: Final = 20_000


def make_candidates(factory: str, sample: Float16, blocks: Iterable[Float16], *, size: int) -> Any:
    """Train an ANN index and fill it with vectors.

    Args:
        factory: FAISS's name for it, such as `PCA64,IVF4096,SQ8`.
        sample: float16 [n, D], drawn from the vectors, to learn from.
        blocks: float16 [m, D] each, N rows in all, in row order.
        size: D.

    Raises:
        InputError: FAISS cannot make this structure of these vectors.
    """
    try:
        index = faiss.index_factory(size, factory, faiss.METRIC_L2)
        with one_thread():
            _train(index, sample)
        _try_out(index, sample[:1])
        add_rows(index, blocks)
    except (RuntimeError, AssertionError) as error:
        raise _refusal(factory, error, size=size) from error
    return index


def _try_out(index: Any, queries: Float16) -> None:
    """Refuse what could be made, but neither asked nor opened later: float16 [Q, D]."""
    ask(index, queries.astype(np.float32), 1, search_parameters(index, 1))
    if not _is_sound(index):
        raise RuntimeError("its file could not be checked for damage")


def add_rows(index: Any, blocks: Iterable[Float16]) -> None:
    """Add vectors to a structure: float16 [m, D] each."""
    with one_thread():
        for block in blocks:
            for part in _floats(block):
                index.add(part)


def require_factory(factory: str, *, size: int) -> None:
    """Refuse what FAISS does not know, before anything is spent on it.

    Whether vectors suit a structure that it knows shows when that is made.

    Args:
        factory: FAISS's name for a structure.
        size: D.

    Raises:
        InputError: FAISS does not know it.
    """
    try:
        faiss.index_factory(size, factory)
    except RuntimeError as error:
        if "could not parse" in str(error):
            raise _refusal(factory, error, size=size) from error


def _refusal(factory: str, error: Exception, *, size: int) -> InputError:
    return InputError(
        f"--structure {printable(factory)}: FAISS cannot make it of {size} dimensions "
        f"({_reason(error)}); expected a factory string such as PCA64,IVF1024,SQ8, or exact"
    )


def _reason(error: Exception) -> str:
    """Extract the message from a FAISS error, without function, source file and line."""
    said = re.split(r"\.\w+:\d+: ", " ".join(str(error).split()))[-1]
    return re.sub("^Error: '.*' failed: (?=.)", "", said)[:160]


def _train(index: Any, sample: Float16) -> None:
    """Learn a structure; transformations from some rows only, as they need them in float32."""
    outer, inner = parts_of(index)
    steps = []
    if outer is not None:
        rows = sample[:_TRANSFORM_ROWS].astype(np.float32)
        for number in range(outer.chain.size()):
            step: Any = faiss.downcast_VectorTransform(outer.chain.at(number))
            _learn(step, rows)
            rows = step.apply(rows)
            steps.append(step)
        outer.is_trained = True
    parts = []
    for floats in _floats(sample):
        rows = floats
        for step in steps:
            rows = step.apply(rows)
        parts.append(rows)
    inner.train(np.concatenate(parts))


def _learn(step: Any, rows: Float32) -> None:
    is_plain = isinstance(step, faiss.PCAMatrix) and (
        step.eigen_power == 0 and not step.random_rotation and not step.balanced_bins
    )
    if not is_plain or step.d_out > step.d_in:
        step.train(rows)
        return
    # Imported here: to open an index needs none of it.
    from scipy.linalg import eigh

    # FAISS finds all directions, in 8.5 s at 2048 dimensions where the used ones take 1.5 s, and
    # would write them all: 16 of 17 MB.
    mean = rows.mean(axis=0)
    centred = rows - mean
    used = (step.d_in - step.d_out, step.d_in - 1)
    _, directions = eigh(centred.T @ centred, subset_by_index=used)
    matrix = np.ascontiguousarray(directions.T[::-1])  # [d_out, D], the widest first
    faiss.copy_array_to_vector(matrix.ravel(), step.A)
    faiss.copy_array_to_vector(-matrix @ mean, step.b)
    step.is_trained = step.is_orthonormal = True


def _floats(halves: Float16) -> Iterator[Float32]:
    for start in range(0, len(halves), _BLOCK):
        yield halves[start : start + _BLOCK].astype(np.float32)


def write_candidates(path: Path, index: Any) -> None:
    """Write a structure. FAISS's own writer says nothing when the last bytes do not fit."""
    with open(path, "wb") as file:
        file.write(faiss.serialize_index(index).data)


def read_candidates(path: Path, data: Any, *, rows: int, size: int) -> Any:
    """Read a structure from bytes whose checksum was verified, and search it where they lie.

    Args:
        path: how messages call the file.
        data: its bytes; a mapped file costs no memory, and must not be cut meanwhile.
        rows: N, as the manifest says.
        size: D.

    Raises:
        IndexFormatError: the bytes are not such a structure.
    """
    buffer = np.frombuffer(data, np.uint8)
    faiss.set_deserialization_vector_byte_limit(_ALLOCATION_FACTOR * len(buffer))
    # Parts such as lists, of 160 bytes each in memory, are few beside the vectors.
    faiss.set_deserialization_loop_limit(max(len(buffer) // _BYTES_PER_PART, 1))
    try:
        library: Any = faiss  # whose stubs do not know this
        reader = library.ZeroCopyIOReader(faiss.swig_ptr(buffer), len(buffer))
        index: Any = faiss.read_index(reader)
        # What it reads last may lie beyond the end: it looks only before.
        if reader.rp_ != len(buffer):
            raise RuntimeError(f"{len(buffer):,} bytes, expected {reader.rp_:,}")
    except (RuntimeError, MemoryError) as error:
        raise IndexFormatError(
            f"{path}: not a FAISS index ({_reason(error)}); {_REMEDY}"
        ) from error
    index.referenced_objects = [buffer]
    if (index.ntotal, index.d) != (rows, size):
        raise IndexFormatError(
            f"{path}: holds {index.ntotal} vectors of {index.d}, expected {rows} of {size}; "
            f"{_REMEDY}"
        )
    if not _is_sound(index):
        raise IndexFormatError(f"{path}: its parts do not fit each other; {_REMEDY}")
    return index


def read_growing(path: Path, data: Any, *, rows: int, size: int, kept: int) -> Any:
    """Read a structure to add to it; see `read_candidates`.

    Args:
        path: how messages call the file.
        data: its bytes, which are copied.
        rows: N, as the manifest says.
        size: D.
        kept: how many of its first rows it is to hold, the others are taken out.

    Raises:
        IndexFormatError: the bytes are not such a structure, or it is of a kind that keeps rows.
    """
    read_candidates(path, data, rows=rows, size=size)
    index: Any = faiss.deserialize_index(np.frombuffer(data, np.uint8))
    try:
        if kept < rows:
            index.remove_ids(faiss.IDSelectorRange(kept, rows))
    except RuntimeError as error:
        raise IndexFormatError(
            f"{path}: FAISS cannot take rows out of it ({_reason(error)}); {_REMEDY}"
        ) from error
    return index


def _is_sound(index: Any) -> bool:
    """Return whether the parts of an index fit together; FAISS does not check."""
    outer, inner = parts_of(index)
    size = index.d
    if outer is not None:
        for number in range(outer.chain.size()):
            step = faiss.downcast_VectorTransform(outer.chain.at(number))
            if not isinstance(step, faiss.LinearTransform) or step.d_in != size:
                return False
            size = step.d_out
            is_whole = step.A.size() == step.d_in * size and step.b.size() in (0, size)
            if not is_whole or (step.have_bias and not step.b.size()):
                return False
    if (inner.d, inner.ntotal, inner.metric_type) != (size, index.ntotal, faiss.METRIC_L2):
        return False
    return _is_sound_ivf(inner) if isinstance(inner, faiss.IndexIVF) else True


def _is_sound_ivf(index: Any) -> bool:
    quantizer, lists = faiss.downcast_index(index.quantizer), index.invlists
    if (quantizer.d, quantizer.ntotal, lists.nlist, lists.code_size) != (
        index.d, index.nlist, index.nlist, index.code_size,
    ):  # fmt: skip
        return False
    if isinstance(quantizer, faiss.IndexFlat) and quantizer.codes.size() != 4 * index.d * (
        index.nlist
    ):
        return False
    if isinstance(index, faiss.IndexIVFScalarQuantizer):
        scalar = index.sq
        if (scalar.d, scalar.code_size) != (index.d, index.code_size):
            return False
    ids = [
        faiss.rev_swig_ptr(lists.get_ids(number), length).copy()
        for number in range(index.nlist)
        if (length := lists.list_size(number))
    ]
    found = np.sort(np.concatenate(ids)) if ids else np.empty(0, np.int64)
    return np.array_equal(found, np.arange(index.ntotal))
