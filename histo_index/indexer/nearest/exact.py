"""Exact search by FAISS over the mapped vectors, and search parameters of its ANN indexes.

Exact search reads the mapped float16 vectors in place, so that it costs neither disk nor memory nor
time to open.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final, Protocol

import faiss
import numpy as np

from histo_index.arrays import Bools, Float16, Float32, Int64
from histo_index.indexer.nearest.gpu import LazyGpuSearch, exact_on_gpu
from histo_index.indexer.nearest.kernel import to_float32

# Queries per core at a time.
_PIECE: Final = 16
# From so many queries on, each block of rows is compared with all of them.
_MANY: Final = 32
# Up to so many neighbours; each block gives as many, which then are sorted: 3,000 of 300,000 rows
# took 13 times as long as one query after another, and 6 MB a query.
_FEW: Final = 128
# Rows that many queries are compared with at a time: 32 MB in float32 at 2048 dimensions.
_BLOCK: Final = 4096
# A graph is searched with at most this many rows in view.
_MOST_IN_VIEW: Final = 4096


class Structure(Protocol):
    """Something that finds candidates for the nearest rows."""

    def search(self, queries: Float32, count: int, allowed: Bools | None = None) -> Int64:
        """Return the rows nearest to each query, or some more.

        Args:
            queries: float32 [Q, D].
            count: how many at least.
            allowed: bool [N], which rows may come back; None is all.

        Returns:
            int64 [Q, at least count], -1 where no more rows may come back.
        """


class ExactSearch:
    """Compare queries with every vector, on the CPU until a GPU takes over.

    Few queries are answered one after another by FAISS; many at once meet each block of rows that
    was read. `TorchSearch` has the same interface, and is the other exact search.
    """

    def __init__(
        self,
        matrix: Float16,
        *,
        many: int = _MANY,
        few: int = _FEW,
        block: int = _BLOCK,
        gpu: LazyGpuSearch[Any] | None = None,
    ) -> None:
        """Search vectors in place.

        Args:
            matrix: float16 [N, D], C order.
            many: from so many queries on, each block of rows meets all of them.
            few: up to so many neighbours; more are searched one query after another.
            block: rows in such a block.
            gpu: the search that takes over; None is the one of this machine.
        """
        size = matrix.shape[1]
        index: Any = faiss.IndexScalarQuantizer(
            size, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_L2
        )
        codes = matrix.view(np.uint8).reshape(-1)
        # A view has no owner: FAISS knows an address, and `_matrix` keeps alive what is there.
        view: Any = faiss.MaybeOwnedVectorUInt8
        index.codes = view.create_view(faiss.swig_ptr(codes), len(codes), index.codes.owner)
        index.ntotal = len(matrix)
        self._matrix = matrix
        self._index = index
        self._many, self._few, self._block = many, few, block
        self._gpu = gpu or exact_on_gpu(matrix)

    def search(self, queries: Float32, count: int, allowed: Bools | None = None) -> Int64:
        """Return the nearest rows, nearest first within FAISS's rounding; see `Structure`."""
        found = self._gpu.ask(len(queries), lambda gpu: gpu.search(queries, count, allowed))
        if found is not None:
            return found
        if len(queries) >= self._many and count <= self._few:
            return _compare_all(queries, self._matrix, count, allowed, block=self._block)
        library: Any = faiss  # whose stubs do not know this form
        parameters = None if allowed is None else library.SearchParameters(sel=selector(allowed))
        return ask(self._index, queries, count, parameters)


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit FAISS to one thread within this Python thread.

    Its own threads wait for each other at every step, turning round and round: on a busy machine
    of two cores one query was seen to take 60 ms instead of 2, and k-means 219 s instead of 30.
    """
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def ask(index: Any, queries: Float32, count: int, parameters: Any = None) -> Int64:
    """Search some queries at a time on each core."""
    starts = range(0, max(len(queries), 1), _PIECE)

    def search(start: int) -> Int64:
        with one_thread():
            found: Int64
            _, found = index.search(queries[start : start + _PIECE], count, params=parameters)
        return found

    if len(starts) == 1:
        return search(0)
    with ThreadPoolExecutor(faiss.omp_get_max_threads()) as threads:
        return np.concatenate(list(threads.map(search, starts)))


def _compare_all(
    queries: Float32,
    matrix: Float16,
    count: int,
    allowed: Bools | None = None,
    *,
    block: int = _BLOCK,
) -> Int64:
    """Compare many queries with every vector, some rows at a time on each core.

    Ten times as fast as one query after another, because a row that was read meets all of them;
    FAISS's rounding of such products may swap near-copies.

    Args:
        queries: float32 [Q, D].
        matrix: float16 [N, D], mapped; any N.
        count: K.
        allowed: bool [N], which rows may come back; None is all.
        block: rows at a time.

    Returns:
        int64 [Q, K], nearest first; -1 where no more rows may come back.
    """

    def search(start: int) -> tuple[Float32, Int64]:
        rows = matrix[start : start + block]
        numbers = np.arange(start, start + len(rows))
        if allowed is not None:
            numbers = numbers[allowed[numbers]]
            rows = matrix[numbers]
        if not len(rows):
            return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        with one_thread():
            distances, found = faiss.knn(queries, to_float32(rows), min(count, len(rows)))
        return distances, numbers[found]

    with _BY_PRODUCTS, ThreadPoolExecutor(faiss.omp_get_max_threads()) as threads:
        parts = list(threads.map(search, range(0, len(matrix), block)))
    distances, found = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :count]
    rows: Int64 = np.take_along_axis(found, nearest, axis=1)
    return np.pad(rows, ((0, 0), (0, count - rows.shape[1])), constant_values=-1)


class ByProducts:
    """Make FAISS compare by matrix products also for few queries.

    Its default asks for more, and then takes seven times as long for 64 queries. It is one for all
    threads: the first that enters changes it, the last that leaves changes it back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before = 0

    def __enter__(self) -> None:
        library: Any = faiss.cvar
        with self._lock:
            if not self._inside:
                self._before = library.distance_compute_blas_threshold
                library.distance_compute_blas_threshold = 1
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        library: Any = faiss.cvar
        with self._lock:
            self._inside -= 1
            if not self._inside:
                library.distance_compute_blas_threshold = self._before


_BY_PRODUCTS: Final = ByProducts()


def search_parameters(index: Any, effort: int, allowed: Bools | None = None) -> Any:
    """Return FAISS search parameters for an effort and the allowed rows."""
    transformed, inner = parts_of(index)
    effort = min(effort, most_effort(index))
    library: Any = faiss  # whose stubs do not know these
    options = {} if allowed is None else {"sel": selector(allowed)}
    if isinstance(inner, faiss.IndexIVF):
        parameters = library.SearchParametersIVF(nprobe=effort, **options)
    elif isinstance(inner, faiss.IndexHNSW):
        parameters = library.SearchParametersHNSW(efSearch=effort, **options)
    else:
        parameters = library.SearchParameters(**options)
    if transformed is None:
        return parameters
    return library.SearchParametersPreTransform(index_params=parameters)


def most_effort(index: Any) -> int:
    """Return the highest effort that an ANN index supports."""
    _, inner = parts_of(index)
    if isinstance(inner, faiss.IndexIVF):
        return int(inner.nlist)
    return _MOST_IN_VIEW if isinstance(inner, faiss.IndexHNSW) else 1


def parts_of(index: Any) -> tuple[Any | None, Any]:
    """Return the index that transforms vectors first, or None, and the one that searches."""
    if isinstance(index, faiss.IndexPreTransform):
        return index, faiss.downcast_index(index.index)
    return None, index


def linear_steps(index: Any) -> list[tuple[Float32, Float32 | float]]:
    """Return how an index transforms queries first.

    Returns:
        The matrix float32 [d_out, d_in] and the offset [d_out], or 0, of each step in turn. Empty
        where vectors are not transformed, or not by matrices alone.
    """
    outer, _ = parts_of(index)
    if outer is None:
        return []
    chain: list[Any] = [
        faiss.downcast_VectorTransform(outer.chain.at(n)) for n in range(outer.chain.size())
    ]
    if not all(isinstance(step, faiss.LinearTransform) for step in chain):
        return []
    return [
        (
            faiss.vector_to_array(step.A).reshape(step.d_out, step.d_in),
            faiss.vector_to_array(step.b) if step.have_bias else 0.0,
        )
        for step in chain
    ]


def selector(allowed: Bools) -> Any:
    """Return a FAISS selector of the allowed rows, bool [N]."""
    # FAISS's stubs do not know the form that its Python layer takes.
    return faiss.IDSelectorBitmap(  # type: ignore[call-arg]
        np.packbits(allowed, bitorder="little")  # type: ignore[arg-type]
    )


def faiss_version() -> str:
    """Return FAISS's version and compile options."""
    return f"{faiss.__version__} ({faiss.get_compile_options().strip()})"
