"""Search on clustered vectors, compared with exact search and four libraries.

The peers are measured where they are installed (`pip install hnswlib usearch scann scalable-vs`),
one after another, each in its own process, which asks ours in turn with it. A peer that cannot run
on this CPU is left out.
"""

import json
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import measuring
import numpy as np
from clustered import Clusters, prepare_index
from search_peers import K, ours, recall, true_rows

from histo_index.arrays import Float16, Int64
from histo_index.indexer.reader import OpenIndex
from histo_index.search.neighbours.filters import Filters

_PEERS: Final = {
    "flat": "FAISS flat, float32",
    "hnswlib": "hnswlib",
    "usearch": "usearch, float16",
    "scann": "ScaNN",
    "svs": "SVS, float32",
}
_FILTERED: Final = 200
_BLOCK: Final = 4096

_COLD: Final = """
import json, sys, time
from pathlib import Path
import numpy as np
query = np.load(sys.argv[2])[:1]
started = time.perf_counter()
if sys.argv[3] == "ours":
    from histo_index.indexer.reader import OpenIndex
    from histo_index.search.neighbours.nearest import nearest_rows
    index = OpenIndex(Path(sys.argv[1]))
    nearest_rows(index, query, k=10, own_rows=[None])
else:
    import faiss
    index = faiss.read_index(sys.argv[1])
    index.search(query.astype(np.float32), 10)
seconds = time.perf_counter() - started
lines = dict(line.split(":") for line in open("/proc/self/status") if "rss" in line.lower())
sizes = (int(lines[name].split()[0]) << 10 for name in ("RssAnon", "VmRSS"))
print(json.dumps([seconds, time.process_time(), *sizes]))
"""


def main() -> None:
    options = measuring.parser(__doc__)
    options.add_argument("--rows", type=int, default=100_000, help="N")
    options.add_argument("--peer-rows", type=int, help="the libraries get so many; else all")
    options.add_argument("--size", type=int, default=2048, help="D")
    options.add_argument("--queries", type=int, default=1000, help="in a batch")
    options.add_argument("--clusters", type=int, default=1000, help="centres")
    options.add_argument("--spread", type=float, default=0.35, help="around a centre; centres: 1")
    options.add_argument("--repeats", type=int, default=3, help="runs of each")
    options.add_argument("--folder", type=Path, help="keep the index here, or use what is there")
    options.add_argument("--without", nargs="*", default=[], help="searchers to leave out")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="histo-index-search-") as name:
        folder = given.folder or Path(name)
        index, queries = prepare(folder, given)
        measuring.print_machine()
        facts = index.manifest.structure
        print(f"{given.rows:,} vectors of {given.size}; structure: {facts}\n", flush=True)
        report_ours(folder, index, queries, given)
        report_filters(index, queries[:_FILTERED])
        report_peers(folder, given)
        report_cold(folder, repeats=given.repeats)


def prepare(folder: Path, given: Namespace) -> tuple[OpenIndex, Float16]:
    """Draw vectors and queries around the same centres, unless they are there."""
    clusters = Clusters(count=given.clusters, size=given.size, spread=given.spread)
    path = prepare_index(folder, clusters, rows=given.rows, size=given.size)
    queries = clusters.draw(given.queries, seed=0)
    np.save(folder / "queries.npy", queries)
    return OpenIndex(path), queries


def run_peer(name: str, folder: Path, *, rows: int, repeats: int) -> dict[str, Any]:
    """Measure a searcher in a new process; see `search_peers`."""
    measuring.tell(f"building and asking {name}")
    script = Path(__file__).with_name("search_peers.py")
    command = [sys.executable, str(script), name, str(folder), str(rows), str(repeats)]
    peak = measuring.watch_memory(command)
    found: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    return {**found, "private": peak.private}


def report_ours(folder: Path, index: OpenIndex, queries: Float16, given: Namespace) -> None:
    truth = true_rows(folder, queries, index.matrix)
    reached = f"{recall(ours(index, queries), truth):.4f}"
    facts = index.manifest.structure
    cells: tuple[str, ...] = (f"{facts.seconds_to_make if facts else 0:.0f}", "-", "-", "-")
    if "histo-index" not in given.without:
        cells = _build_cells(run_peer("histo-index", folder, rows=given.rows, repeats=0))
    print()
    measuring.print_table(("histo-index: recall@10", *_BUILD_HEADER), [(reached, *cells)])
    sys.stdout.flush()


_BUILD_HEADER: Final = ("build, s", "CPU s", "bytes a vector", "peak MB, build and search")


def _build_cells(found: dict[str, Any]) -> tuple[str, ...]:
    numbers = (found["build_s"], found["build_cpu_s"], found["bytes_each"], found["private"] / 1e6)
    return tuple(f"{number:,.0f}" for number in numbers)


def report_peers(folder: Path, given: Namespace) -> None:
    rows = []
    for name, title in _PEERS.items():
        if name in given.without or (name != "flat" and find_spec(name) is None):
            continue
        count = given.rows if name == "flat" else (given.peer_rows or given.rows)
        try:
            found = run_peer(name, folder, rows=count, repeats=given.repeats)
        except subprocess.CalledProcessError as error:
            if error.returncode > 0:
                raise
            # Ended by a signal: most likely an instruction that this CPU does not have.
            measuring.tell(f"{name} left out: signal {-error.returncode} on this CPU")
            continue
        cells = [f"{title}, {count:,}", f"{found['recall']:.4f}"]
        for form in ("batch", "single"):
            ratios = measuring.ratios(found[f"ours_{form}"], found[form])
            rates = (measuring.spread(found[key], digits=0) for key in (form, f"ours_{form}"))
            cells += [*rates, measuring.spread(ratios)]
        rows.append((*cells, *_build_cells(found)))
    asked = ("batch: queries/core-s", "ours", "× it", "one by one", "ours", "× it")
    print()
    measuring.print_table(("beside", "recall@10", *asked, *_BUILD_HEADER), rows)


def report_filters(index: OpenIndex, queries: Float16) -> None:
    rows = []
    for percent in (1, 10, 90):
        filters = Filters(where=f"percent < {percent}")
        truth = _filtered_truth(index, queries, percent)
        found = ours(index, queries, filters)
        started = time.process_time()
        ours(index, queries, filters)
        rate = len(queries) / (time.process_time() - started)
        rows.append((f"{percent} %", f"{recall(found, truth):.4f}", f"{rate:,.0f}"))
    print()
    sys.stdout.flush()
    measuring.print_table(("tiles that pass", "recall@10", "queries/core-s, batch"), rows)


def _filtered_truth(index: OpenIndex, queries: Float16, percent: int) -> Int64:
    """Compare with every tile that passes, in the plain form."""
    passing = np.flatnonzero(index.rows["percent"].to_numpy() < percent)
    distances = np.full((len(queries), K), np.inf, np.float32)
    nearest = np.zeros((len(queries), K), np.int64)
    for start in range(0, len(passing), _BLOCK):
        rows = passing[start : start + _BLOCK]
        # Of unit vectors the nearest have the largest products.
        gaps = 2 - 2 * queries.astype(np.float32) @ index.matrix[rows].astype(np.float32).T
        both = np.concatenate([distances, gaps], axis=1)
        order = np.argpartition(both, K - 1, axis=1)[:, :K]
        columns = np.concatenate([nearest, np.broadcast_to(rows, gaps.shape)], axis=1)
        distances, nearest = (np.take_along_axis(a, order, axis=1) for a in (both, columns))
    return nearest


def report_cold(folder: Path, *, repeats: int) -> None:
    """A new process opens and answers once; FAISS loads the same vectors whole."""
    rows = []
    for name, path, kind in (
        ("histo-index", folder / "tiles.hx", "ours"),
        ("FAISS flat, loaded whole", folder / "flat.faiss", "flat"),
    ):
        if not path.exists():
            continue
        command = [sys.executable, "-c", _COLD, str(path), str(folder / "queries.npy"), kind]
        runs = [subprocess.run(command, check=True, capture_output=True) for _ in range(repeats)]
        seconds, cpu, own, resident = zip(*(json.loads(run.stdout) for run in runs), strict=True)
        sizes = (f"{max(values) / 1e6:,.0f}" for values in (own, resident))
        rows.append(
            (name, *(measuring.spread(values, digits=2) for values in (seconds, cpu)), *sizes)
        )
    print()
    # By the clock a busy machine is measured; processor time counts Python's own start too.
    header = ("new process", "s to the first answer", "CPU s", "MB private", "MB resident")
    measuring.print_table(header, rows)


if __name__ == "__main__":
    main()
