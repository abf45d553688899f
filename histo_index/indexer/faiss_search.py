"""Search by FAISS: exact, where the vectors lie, or among the candidates of a compact structure.

Exact search reads the mapped float16 vectors in place, so that it costs neither disk nor memory nor
time to open. Beside it there may be a structure of any FAISS factory string, some dozens of bytes a
tile, which proposes candidates; their order is always that of the exact distances.
"""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from typing import Any, Final, Protocol

import faiss
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Halves = npt.NDArray[np.float16]
Rows = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# Codes looked at in the time that comparing with one vector of 2048 dimensions takes.
_ROW_COST: Final = 50
# What a structure is tuned for: ten neighbours, the query itself and a few near-copies.
_TUNED: Final = 19
# Candidates for each neighbour that is wanted beyond those.
_SPREAD: Final = 4
# Queries that a core takes at a time.
_PIECE: Final = 16
# Rows that many queries are compared with at a time: 32 MB in float32 at 2048 dimensions.
_BLOCK: Final = 4096
# A graph is searched with at most this many rows in view.
_MOST_IN_VIEW: Final = 4096


class Structure(Protocol):
    """Something that finds candidates for the nearest rows."""

    def search(self, queries: Floats, count: int, allowed: Bools | None = None) -> Rows:
        """Give the rows nearest to each query, or some more.

        Args:
            queries: float32 [Q, D].
            count: how many at least.
            allowed: bool [N], which rows may come back; None is all.

        Returns:
            int64 [Q, at least count], -1 where no more rows may come back.
        """


class ExactSearch:
    """Compares with every vector, on a GPU where FAISS has one; filters are for the CPU."""

    def __init__(self, matrix: Halves, *, gpu: bool = False) -> None:
        """Search float16 [N, D], C order, where it lies."""
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
        self._fastest = on_gpu(index) if gpu and gpu_count() else index

    def search(self, queries: Floats, count: int, allowed: Bools | None = None) -> Rows:
        """Give the nearest rows, nearest first within FAISS's rounding; see `Structure`."""
        if allowed is not None:
            library: Any = faiss  # whose stubs do not know this form
            parameters = library.SearchParameters(sel=_selector(allowed))
            return ask(self._index, queries, count, parameters)
        if self._fastest is self._index:
            return ask(self._index, queries, count)
        found: Rows = self._fastest.search(queries, count)[1]
        return found

    def measure(self, query: Floats, rows: Rows) -> Floats:
        """Measure squared distances to some rows where they lie.

        numpy takes three times as long to turn float16 rows into float32 first.

        Args:
            query: float32 [D].
            rows: int64 [n], each 0…N-1; not checked.

        Returns:
            float32 [n]; `pair_distances` is the plain form, and gives the same.
        """
        computer = self._index.get_FlatCodesDistanceComputer()
        computer.set_query(faiss.swig_ptr(query))
        return np.array([computer(row) for row in rows.tolist()], np.float32)


class CandidateSearch:
    """Asks a compact structure for candidates; where it finds too few, compares with every vector.

    Attributes:
        effort: how many lists or nodes are looked at for a query; what it means depends on the
            structure.
        candidates: how many are asked for.
    """

    def __init__(self, index: Any, exact: Structure, *, effort: int, candidates: int) -> None:
        self._index = index
        self._exact = exact
        self.effort = effort
        self.candidates = candidates
        self._most = most_effort(index)
        self._unfiltered = cache(partial(search_parameters, index))

    def search(self, queries: Floats, count: int, allowed: Bools | None = None) -> Rows:
        """Give candidates in no particular order; see `Structure`."""
        total = self._index.ntotal
        passing = total if allowed is None else int(np.count_nonzero(allowed))
        if passing < total and self._is_dear(passing / total):
            return self._exact.search(queries, count, allowed)
        wanted = min(total, self.candidates + _SPREAD * max(count - _TUNED, 0))
        # Neighbours that a filter has thinned out, or many of them, lie further apart.
        spread = math.sqrt(wanted / self.candidates) * total / passing
        parameters = self._parameters(math.ceil(self.effort * spread), allowed)
        found = ask(self._index, queries, wanted, parameters)
        is_short = (found >= 0).sum(axis=1) < min(count, passing)
        if is_short.any():
            found[is_short] = -1
            found[is_short, :count] = self._exact.search(queries[is_short], count, allowed)
        return found

    def _is_dear(self, share: float) -> bool:
        """Tell whether comparing with each tile that may come back costs no more than candidates.

        The fewer may, the further one has to look: at `effort / most / share` of all codes.
        """
        return share**2 * _ROW_COST <= self.effort / self._most

    def _parameters(self, effort: int, allowed: Bools | None) -> Any:
        if allowed is None:
            # Made anew they cost as much as looking at a thousand codes.
            return self._unfiltered(min(effort, self._most))
        return search_parameters(self._index, effort, allowed)


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep FAISS, within this Python thread, to one thread.

    Its own threads wait for each other at every step, turning round and round: on a busy machine
    of two cores one query was seen to take 60 ms instead of 2, and k-means 219 s instead of 30.
    """
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def ask(index: Any, queries: Floats, count: int, parameters: Any = None) -> Rows:
    """Search some queries at a time on each core."""
    starts = range(0, max(len(queries), 1), _PIECE)

    def search(start: int) -> Rows:
        with one_thread():
            found: Rows
            _, found = index.search(queries[start : start + _PIECE], count, params=parameters)
        return found

    if len(starts) == 1:
        return search(0)
    with ThreadPoolExecutor(faiss.omp_get_max_threads()) as threads:
        return np.concatenate(list(threads.map(search, starts)))


def compare_all(queries: Floats, matrix: Halves, count: int) -> Rows:
    """Compare many queries with every vector, some rows at a time on each core.

    Ten times as fast as `ExactSearch` for hundreds of queries, because a row that was read meets
    all of them; FAISS's rounding of such products may swap near-copies.

    Args:
        queries: float32 [Q, D].
        matrix: float16 [N, D], mapped; any N.
        count: K, not above N.

    Returns:
        int64 [Q, K], nearest first.
    """

    def search(start: int) -> tuple[Floats, Rows]:
        rows = matrix[start : start + _BLOCK].astype(np.float32)
        with one_thread():
            distances, found = faiss.knn(queries, rows, min(count, len(rows)))
        return distances, found + start

    with ThreadPoolExecutor(faiss.omp_get_max_threads()) as threads:
        parts = list(threads.map(search, range(0, len(matrix), _BLOCK)))
    distances, found = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :count]
    rows: Rows = np.take_along_axis(found, nearest, axis=1)
    return rows


def search_parameters(index: Any, effort: int, allowed: Bools | None = None) -> Any:
    """Say how hard to look, and among which rows; no more than makes a difference."""
    transformed, inner = parts_of(index)
    effort = min(effort, most_effort(index))
    library: Any = faiss  # whose stubs do not know these
    options = {} if allowed is None else {"sel": _selector(allowed)}
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
    """Tell with how much effort at most a structure can be searched."""
    _, inner = parts_of(index)
    if isinstance(inner, faiss.IndexIVF):
        return int(inner.nlist)
    return _MOST_IN_VIEW if isinstance(inner, faiss.IndexHNSW) else 1


def parts_of(index: Any) -> tuple[Any | None, Any]:
    """Give the structure that transforms vectors first, or None, and the one that searches."""
    if isinstance(index, faiss.IndexPreTransform):
        return index, faiss.downcast_index(index.index)
    return None, index


def _selector(allowed: Bools) -> Any:
    # FAISS's stubs do not know the form that its Python layer takes.
    return faiss.IDSelectorBitmap(  # type: ignore[call-arg]
        np.packbits(allowed, bitorder="little")  # type: ignore[arg-type]
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
