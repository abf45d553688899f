"""One other search library, in its own process that `search.py` starts.

Rates are per second of one core (processor time, all threads together), because the machine may be
shared and what others do would be counted otherwise.

Every library searches just as hard as the recall needs, found on the very queries that are
reported, which favours it.
"""

import json
import math
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import measuring
import numpy as np
from clustered import blocks_of

from histo_index.arrays import Float16, Int64
from histo_index.hardware import usable_cores
from histo_index.indexer.format.records import SearchConfig
from histo_index.indexer.nearest.choose import make_structure
from histo_index.indexer.nearest.exact import ExactSearch, one_thread
from histo_index.indexer.reader import OpenIndex
from histo_index.search.neighbours.filters import Filters
from histo_index.search.neighbours.nearest import nearest_rows

# Gives the ten nearest rows of some queries, looking so hard: int64 [Q, 10].
Search = Callable[[Float16, int], Int64]
# A searcher and how many bytes it holds.
Built = tuple[Search, int]

K: Final = 10
RECALL: Final = 0.99
# Of all graphs; more would take still longer to build.
_LINKS, _BUILD_EFFORT = 16, 128
_EFFORTS: Final = (16, 32, 64, 128, 256, 512, 1024)
# Candidates of ScaNN that are compared in float32.
_REORDERED: Final = 100
# Queries of the slow exact search.
_FEW: Final = 100
_FEW_ONES: Final = 5
_SINGLE: Final = 50


def main() -> None:
    """Build a searcher of the first rows of an index, measure it and ours in turn."""
    name, folder, rows, repeats = sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:5])
    index, queries = OpenIndex(folder / "tiles.hx"), np.load(folder / "queries.npy")
    matrix = index.matrix[:rows]
    started, cpu = time.perf_counter(), time.process_time()
    search, size = BUILD[name](matrix, folder)
    found: dict[str, Any] = {
        "build_s": time.perf_counter() - started,
        "build_cpu_s": time.process_time() - cpu,
        "bytes_each": size / rows,
    }
    if name != "histo-index":
        found |= measure(index, matrix, queries, search, repeats=repeats, is_exact=name == "flat")
    (folder / f"{name}.json").write_text(json.dumps(found))


def measure(
    index: OpenIndex, matrix: Float16, queries: Float16, search: Search, *, repeats: int,
    is_exact: bool,
) -> dict[str, Any]:  # fmt: skip
    """Ask both in turn; ours always searches the whole index."""
    truth, ones = true_rows(index.folder.parent, queries, matrix), queries[:_SINGLE]
    ours(index, queries)
    few, effort = queries, 0
    if is_exact:
        few, ones, truth = queries[:_FEW], ones[:_FEW_ONES], truth[:_FEW]
    else:
        effort = next((e for e in _EFFORTS if recall(search(queries, e), truth) >= RECALL), 1024)
    jobs: dict[str, measuring.Job] = {
        "batch": lambda: len(search(few, effort)),
        "ours_batch": lambda: len(ours(index, queries)),
        "single": lambda: one_by_one(lambda one: search(one, effort), ones),
        "ours_single": lambda: one_by_one(lambda one: ours(index, one), queries[:_SINGLE]),
    }
    rates = measuring.interleave(jobs, repeats=repeats, clock=time.process_time)
    return {"recall": recall(search(few, effort), truth), "effort": effort, **rates}


def true_rows(folder: Path, queries: Float16, matrix: Float16) -> Int64:
    """Compare with every vector, once for each number of rows; kept beside the index."""
    path = folder / f"truth-{len(matrix)}.npy"
    if not path.exists():
        np.save(path, ExactSearch(matrix).search(queries.astype(np.float32), K))
    truth: Int64 = np.load(path)
    return truth


def ours(index: OpenIndex, queries: Float16, filters: Filters | None = None) -> Int64:
    """Search as the commands do: candidates, then the exact distances of each."""
    nobody = [None] * len(queries)
    return nearest_rows(index, queries, k=K, own_rows=nobody, filters=filters).rows


def one_by_one(search: Callable[[Float16], Int64], queries: Float16) -> int:
    return sum(len(search(queries[n : n + 1])) for n in range(len(queries)))


def recall(found: Int64, truth: Int64) -> float:
    """Tell which share of the true ten nearest was found."""
    hits = sum(len(set(a) & set(b)) for a, b in zip(found.tolist(), truth.tolist(), strict=True))
    return hits / truth.size


def build_ours(matrix: Float16, folder: Path) -> Built:
    path, facts = folder / "again.faiss", OpenIndex(folder / "tiles.hx").manifest.structure
    assert facts is not None
    made = make_structure(path, matrix, blocks_of(matrix), facts.factory, SearchConfig())
    path.unlink()
    return lambda queries, effort: np.empty((0, K), np.int64), made.bytes


def build_flat(matrix: Float16, folder: Path) -> Built:
    """Exact search as FAISS has it: all vectors as float32 in memory."""
    import faiss

    index: Any = faiss.IndexFlatL2(matrix.shape[1])
    for block in blocks_of(matrix):
        index.add(block.astype(np.float32))
    if shutil.disk_usage(folder).free > 2 * 4 * matrix.size:
        faiss.write_index(index, str(folder / "flat.faiss"))

    def search(queries: Float16, _: int) -> Int64:
        # Its threads wait by turning round, which would count as work.
        with one_thread():
            return np.asarray(index.search(queries.astype(np.float32), K)[1], np.int64)

    return search, 4 * matrix.size


def build_hnswlib(matrix: Float16, _: Path) -> Built:
    import hnswlib

    index = hnswlib.Index(space="l2", dim=matrix.shape[1])
    index.init_index(max_elements=len(matrix), ef_construction=_BUILD_EFFORT, M=_LINKS)
    index.set_num_threads(usable_cores())
    for block in blocks_of(matrix):
        index.add_items(block.astype(np.float32))

    def search(queries: Float16, effort: int) -> Int64:
        index.set_ef(effort)
        return np.asarray(index.knn_query(queries.astype(np.float32), k=K)[0], np.int64)

    return search, index.index_file_size()


def build_usearch(matrix: Float16, _: Path) -> Built:
    from usearch.index import Index

    index: Any = Index(
        ndim=matrix.shape[1], metric="l2sq", dtype="f16", connectivity=_LINKS,
        expansion_add=_BUILD_EFFORT,
    )  # fmt: skip
    start = 0
    for block in blocks_of(matrix):
        index.add(np.arange(start, start + len(block)), block, threads=usable_cores())
        start += len(block)

    def search(queries: Float16, effort: int) -> Int64:
        index.expansion_search = effort
        keys = index.search(queries, K, threads=usable_cores()).keys
        return np.asarray(keys, np.int64).reshape(len(queries), K)

    return search, index.serialized_length


def build_scann(matrix: Float16, _: Path) -> Built:
    """ScaNN as its authors advise: a tree, 4-bit codes, and 100 candidates reordered in float32."""
    from scann import scann_ops_pybind

    floats = matrix.astype(np.float32)
    leaves = round(math.sqrt(len(floats)))
    builder: Any = scann_ops_pybind.builder(floats, K, "squared_l2")
    tree = builder.tree(num_leaves=leaves, num_leaves_to_search=1, training_sample_size=len(floats))
    codes = tree.score_ah(2, anisotropic_quantization_threshold=0.2)
    index: Any = codes.reorder(_REORDERED).build()

    def search(queries: Float16, effort: int) -> Int64:
        leaves_to_search = min(max(1, effort // _EFFORTS[0]), leaves)
        # In its own thread only: waiting threads would count as work.
        found = index.search_batched(queries.astype(np.float32), leaves_to_search=leaves_to_search)
        return np.asarray(found[0], np.int64)

    # Beside the vectors 4 bits for each two numbers.
    return search, 4 * matrix.size + matrix.size // 4


def build_svs(matrix: Float16, _: Path) -> Built:
    """SVS's graph (Vamana) over float32, as many links as the other graphs have at the bottom."""
    import svs

    parameters = svs.VamanaBuildParameters(
        alpha=1.2, graph_max_degree=2 * _LINKS, window_size=_BUILD_EFFORT
    )
    index: Any = svs.Vamana.build(
        parameters, matrix.astype(np.float32), svs.DistanceType.L2, num_threads=usable_cores()
    )
    # Waiting threads would count as work.
    index.num_threads = 1

    def search(queries: Float16, effort: int) -> Int64:
        index.search_window_size = effort
        return np.asarray(index.search(queries.astype(np.float32), K)[0], np.int64)

    return search, 4 * matrix.size + 4 * 2 * _LINKS * len(matrix)


BUILD: Final[dict[str, Callable[[Float16, Path], Built]]] = {
    "histo-index": build_ours,
    "flat": build_flat,
    "hnswlib": build_hnswlib,
    "usearch": build_usearch,
    "scann": build_scann,
    "svs": build_svs,
}

if __name__ == "__main__":
    main()
