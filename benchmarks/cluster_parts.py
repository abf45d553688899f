"""Memory, latency and merge of 16 parts of 10 million vectors, one part at a time.

    python benchmarks/cluster_parts.py --parts 16 --rows 10000000

An exact part, as `search --engine ray` has it, is measured smaller and scaled: its time and memory
are proportional to its rows. A part of an ANN index, which nothing here builds yet, is measured at
full size: the lists of the whole index, and its own share of codes. Numbers are random: time and
memory mean something, neighbours do not. That parts answer at once, each on other cores, is
assumed.
"""

import argparse
import time
from statistics import median
from typing import Any, Final

import faiss
import numpy as np
import psutil  # type: ignore[import-untyped]

from histo_index.arrays import Float32
from histo_index.cluster.searching.merge import Ranked, merge
from histo_index.indexer.nearest.choose import memory_needs
from histo_index.indexer.nearest.exact import ExactSearch, ask
from histo_index.indexer.nearest.kernel import to_float32

_SIZE: Final = 1792
_SHORT: Final = 64
_PROBES: Final = (16, 64, 256)
_CANDIDATES: Final = 100
_EXACT_QUERIES: Final = 10
_BLOCK: Final = 8192


def make_part(rows: int, lists: int) -> Any:
    """Fill an IVF index with random codes: as many in each list, one byte a number."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(lists, _SHORT)).astype(np.float32)
    quantizer = faiss.IndexFlatL2(_SHORT)
    quantizer.add(centres)
    index: Any = faiss.IndexIVFScalarQuantizer(
        quantizer, _SHORT, lists, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_L2, True
    )
    # The range of each number; training would find it.
    index.train(centres)
    ids = random.permutation(rows).astype(np.int64)
    ends = np.arange(lists + 1) * rows // lists
    for number in range(lists):
        own = np.ascontiguousarray(ids[ends[number] : ends[number + 1]])
        codes = random.integers(0, 256, (len(own), _SHORT), dtype=np.uint8)
        index.invlists.add_entries(number, len(own), faiss.swig_ptr(own), faiss.swig_ptr(codes))
    index.ntotal = rows
    return index


def measure_part(index: Any, queries: Float32) -> None:
    """Print the latency of single queries by how many lists they look into."""
    for probes in _PROBES:
        parameters: Any = faiss.SearchParametersIVF(nprobe=probes)  # type: ignore[call-arg]
        times = []
        for query in queries:
            started = time.perf_counter()
            ask(index, query[None], _CANDIDATES, parameters)
            times.append(1000 * (time.perf_counter() - started))
        low, high = np.percentile(times, [50, 99])
        print(f"one part, {probes} lists: p50 {low:.1f} ms, p99 {high:.1f} ms")


def measure_exact(rows: int, scaled_to: int) -> None:
    """Print what an exact part takes, from a smaller one."""
    random = np.random.default_rng(3)
    matrix = np.empty((rows, _SIZE), np.float16)
    for start in range(0, rows, _BLOCK):
        block = matrix[start : start + _BLOCK]
        block[:] = random.normal(size=block.shape).astype(np.float16)
    search, times = ExactSearch(matrix), []
    for query in to_float32(matrix[:_EXACT_QUERIES]):
        started = time.perf_counter()
        search.search(query[None], _CANDIDATES)
        times.append(time.perf_counter() - started)
    factor = scaled_to / rows
    print(
        f"exact part: {rows:,} rows take {matrix.nbytes / 1e9:.2f} GB and {median(times):.2f} s a "
        f"query; {scaled_to:,} rows {factor * matrix.nbytes / 1e9:.1f} GB and "
        f"{factor * median(times):.1f} s (scaled)"
    )


def measure_merge(parts: int, rows: int, queries: int) -> None:
    """Print how long the answers of all parts take to join, and their size."""
    random = np.random.default_rng(1)
    ranked = []
    for part in range(parts):
        distances = np.sort(random.random((queries, _CANDIDATES), np.float32), axis=1)
        found = random.integers(part * rows, (part + 1) * rows, (queries, _CANDIDATES))
        ranked.append(Ranked(rows=found, distances=distances))
    times = []
    for _ in range(20):
        started = time.perf_counter()
        merged = merge(ranked, _CANDIDATES)
        times.append(time.perf_counter() - started)
    size = sum(part.rows.nbytes + part.distances.nbytes for part in ranked)
    print(
        f"merge of {parts} parts, {queries:,} queries at once: "
        f"{1e6 * median(times) / queries:.0f} µs and {size / queries / 1000:.1f} KB a query"
    )
    assert (np.diff(merged.distances, axis=1) >= 0).all()


def main() -> None:
    """Run the simulation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", type=int, default=16)
    parser.add_argument("--rows", type=int, default=10_000_000, help="vectors of a part")
    parser.add_argument("--exact-rows", type=int, default=200_000, help="of the exact part")
    parser.add_argument("--queries", type=int, default=100)
    options = parser.parse_args()
    factory, need = next(iter(memory_needs(options.parts * options.rows, _SIZE).items()))
    lists = int(factory.split("IVF")[1].split(",")[0])
    measure_exact(options.exact_rows, options.rows)
    process = psutil.Process()
    before = process.memory_info().rss
    index = make_part(options.rows, lists)
    used = process.memory_info().rss - before
    print(
        f"{factory}: one part of {options.rows:,} takes {used / 1e6:.0f} MB, "
        f"{used / options.rows:.1f} bytes a vector; {options.parts} parts "
        f"{options.parts * used / 1e9:.1f} GB (scaled), and `plan` says {need / 1e9:.1f} GB for "
        "one index of all"
    )
    queries = np.random.default_rng(2).normal(size=(options.queries, _SHORT)).astype(np.float32)
    measure_part(index, queries)
    for queries_at_once in (1, 1_000):
        measure_merge(options.parts, options.rows, queries_at_once)


if __name__ == "__main__":
    main()
