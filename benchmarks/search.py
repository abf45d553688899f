"""Search at scale on clustered vectors: beside exact search, hnswlib and usearch on the same ones.

The peers are measured where they are installed (`pip install hnswlib usearch`).
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import measuring
import numpy as np
import numpy.typing as npt
from clustered import Clusters, blocks_of, make_clustered_index

from histo_index.encoder.decode_pool import usable_cores
from histo_index.indexer.manifest import read_manifest
from histo_index.indexer.opened import OpenIndex
from histo_index.search.filtering import Filters
from histo_index.search.ranking import nearest_rows

Halves = npt.NDArray[np.float16]
Rows = npt.NDArray[np.int64]
# Gives the ten nearest rows of some queries: int64 [Q, 10].
Search = Callable[[Halves], Rows]

K: Final = 10
RECALL: Final = 0.99
# Of the graphs of both peers; their build takes the time, so no more than they need.
_LINKS, _BUILD_EFFORT = 16, 128
_EFFORTS: Final = (16, 32, 64, 128, 256, 512, 1024)
_SINGLE: Final = 50

_COLD: Final = """
import json, sys, time, resource
from pathlib import Path
import numpy as np
query = np.load(sys.argv[2])
started = time.perf_counter()
if sys.argv[3] == "ours":
    from histo_index.indexer.opened import OpenIndex
    from histo_index.search.ranking import nearest_rows
    nearest_rows(OpenIndex(Path(sys.argv[1])), query, k=10, own_rows=[None])
else:
    import faiss
    faiss.read_index(sys.argv[1]).search(query.astype(np.float32), 10)
seconds = time.perf_counter() - started
lines = dict(line.split(":") for line in open("/proc/self/status") if line.startswith("Rss"))
print(json.dumps([seconds, int(lines["RssAnon"].split()[0]) * 1024]))
"""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """Something that searches: how long it took to make, bytes a vector, and how it is asked."""

    name: str
    build_s: float
    bytes_each: float
    search: Search


def main() -> None:
    options = measuring.parser(__doc__)
    options.add_argument("--rows", type=int, default=100_000, help="N")
    options.add_argument("--size", type=int, default=2048, help="D")
    options.add_argument("--queries", type=int, default=1000, help="in a batch")
    options.add_argument("--clusters", type=int, default=1000, help="centres")
    options.add_argument("--spread", type=float, default=0.35, help="around a centre; centres: 1")
    options.add_argument("--repeats", type=int, default=3, help="runs of each")
    options.add_argument("--without-peers", action="store_true", help="leave out the libraries")
    given = options.parse_args()
    clusters = Clusters(count=given.clusters, size=given.size, spread=given.spread)
    queries = clusters.draw(given.queries, seed=0)
    with tempfile.TemporaryDirectory(prefix="histo-index-search-") as name:
        folder = Path(name)
        path = make_clustered_index(folder, clusters, rows=given.rows, size=given.size)
        index = OpenIndex(path)
        measuring.tell("exact answers")
        truth = np.asarray(index.exact.search(queries.astype(np.float32), K), np.int64)
        contenders = [ours(index)]
        if not given.without_peers:
            contenders += peers(index, queries, truth)
        measuring.print_machine()
        print(
            f"{given.rows:,} vectors of {given.size}; structure: {read_manifest(path).structure}\n"
        )
        report_contenders(index, contenders, queries, truth, repeats=given.repeats)
        report_filters(index, queries[:200])
        report_cold(index, queries[:1], folder)


def ours(index: OpenIndex) -> Contender:
    facts = index.manifest.structure
    return Contender(
        name="histo-index",
        build_s=facts.get("seconds_to_make", 0),
        bytes_each=facts.get("bytes", 0) / len(index),
        search=lambda queries: _ours(index, queries),
    )


def _ours(index: OpenIndex, queries: Halves, filters: Filters | None = None) -> Rows:
    nobody = [None] * len(queries)
    return nearest_rows(index, queries, k=K, own_rows=nobody, filters=filters).rows


def peers(index: OpenIndex, queries: Halves, truth: Rows) -> Iterator[Contender]:
    """Build each library's graph of the same vectors, searched as hard as the recall needs."""
    for name, build in (("hnswlib", build_hnswlib), ("usearch", build_usearch)):
        if find_spec(name) is None:
            measuring.tell(f"{name} is not installed: left out")
            continue
        measuring.tell(f"building {name}")
        started = time.perf_counter()
        search_with, size = build(index.matrix)
        build_s = time.perf_counter() - started
        effort = next(
            (e for e in _EFFORTS if recall(search_with(queries, e), truth) >= RECALL), _EFFORTS[-1]
        )
        yield Contender(
            name=f"{name} (ef {effort})",
            build_s=build_s,
            bytes_each=size / len(index),
            search=lambda asked, run=search_with, hard=effort: run(asked, hard),  # type: ignore[misc]
        )


def build_hnswlib(matrix: Halves) -> tuple[Callable[[Halves, int], Rows], int]:
    import hnswlib

    index = hnswlib.Index(space="l2", dim=matrix.shape[1])
    index.init_index(max_elements=len(matrix), ef_construction=_BUILD_EFFORT, M=_LINKS)
    index.set_num_threads(usable_cores())
    for block in blocks_of(matrix):
        index.add_items(block.astype(np.float32))

    def search(queries: Halves, effort: int) -> Rows:
        index.set_ef(effort)
        return np.asarray(index.knn_query(queries.astype(np.float32), k=K)[0], np.int64)

    return search, index.index_file_size()


def build_usearch(matrix: Halves) -> tuple[Callable[[Halves, int], Rows], int]:
    from usearch.index import Index

    index: Any = Index(
        ndim=matrix.shape[1], metric="l2sq", dtype="f16", connectivity=_LINKS,
        expansion_add=_BUILD_EFFORT,
    )  # fmt: skip
    start = 0
    for block in blocks_of(matrix):
        index.add(np.arange(start, start + len(block)), block, threads=usable_cores())
        start += len(block)

    def search(queries: Halves, effort: int) -> Rows:
        index.expansion_search = effort
        keys = index.search(queries, K, threads=usable_cores()).keys
        return np.asarray(keys, np.int64).reshape(len(queries), K)

    return search, index.serialized_length


def recall(found: Rows, truth: Rows) -> float:
    """Tell which share of the true ten nearest was found."""
    hits = sum(len(set(a) & set(b)) for a, b in zip(found.tolist(), truth.tolist(), strict=True))
    return hits / truth.size


def report_contenders(
    index: OpenIndex, contenders: list[Contender], queries: Halves, truth: Rows, *, repeats: int
) -> None:
    def exact(asked: Halves) -> Rows:
        return np.asarray(index.exact.search(asked.astype(np.float32), K), np.int64)

    searches = {"exact": exact, **{c.name: c.search for c in contenders}}
    for search in searches.values():
        search(queries)
    few = queries[:: max(1, len(queries) // 100)]
    jobs = {
        name: _batch(run, few if name == "exact" else queries) for name, run in searches.items()
    }
    batch = measuring.interleave(jobs, repeats=repeats)
    single = measuring.interleave(
        {name: _one_by_one(run, queries[:_SINGLE]) for name, run in searches.items()},
        repeats=repeats,
    )
    rows = []
    made = {c.name: c for c in contenders}
    for name, search in searches.items():
        contender = made.get(name)
        rows.append(
            (
                name,
                f"{recall(search(queries), truth):.4f}",
                measuring.spread(batch[name], digits=0),
                measuring.spread(measuring.ratios(batch[name], batch["exact"])),
                measuring.spread(single[name], digits=0),
                f"{contender.build_s:.0f}" if contender else "0",
                f"{contender.bytes_each:.0f}" if contender else "0",
            )
        )
    header = ("search", "recall@10", "queries/s, batch", "× exact", "queries/s, one by one")
    measuring.print_table((*header, "build, s", "bytes a vector"), rows)


def _batch(search: Search, queries: Halves) -> measuring.Job:
    return lambda: len(search(queries))


def _one_by_one(search: Search, queries: Halves) -> measuring.Job:
    return lambda: sum(len(search(queries[n : n + 1])) for n in range(len(queries)))


def report_filters(index: OpenIndex, queries: Halves) -> None:
    rows = []
    for percent in (1, 10, 90):
        filters = Filters(where=f"percent < {percent}")
        allowed = index.rows["percent"].to_numpy() < percent
        truth = index.exact.search(queries.astype(np.float32), K, allowed)
        found = _ours(index, queries, filters)
        started = time.perf_counter()
        found = _ours(index, queries, filters)
        seconds = time.perf_counter() - started
        rows.append(
            (f"{percent} %", f"{recall(found, truth):.4f}", f"{len(queries) / seconds:,.0f}")
        )
    print()
    measuring.print_table(("tiles that pass", "recall@10", "queries/s"), rows)


def report_cold(index: OpenIndex, query: Halves, folder: Path) -> None:
    """A new process opens and answers once; FAISS loads the same vectors whole."""
    import faiss

    np.save(folder / "query.npy", query)
    flat = faiss.IndexFlatL2(index.matrix.shape[1])
    for block in blocks_of(index.matrix):
        flat.add(block.astype(np.float32))
    faiss.write_index(flat, str(folder / "flat.faiss"))
    del flat
    rows = []
    for name, path, kind in (
        ("histo-index", index.folder, "ours"),
        ("FAISS flat, loaded whole", folder / "flat.faiss", "flat"),
    ):
        command = [sys.executable, "-c", _COLD, str(path), str(folder / "query.npy"), kind]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        seconds, size = json.loads(output)
        rows.append((name, f"{seconds:.2f}", f"{size / 1e6:,.0f}"))
    print()
    measuring.print_table(("cold process", "s to the first answer", "MB of its own"), rows)


if __name__ == "__main__":
    main()
