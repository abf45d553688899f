"""Search on a GPU beside the same search on the CPU: exact through torch, candidates through FAISS.

Without a GPU `--device cpu` runs the same code, to see that it works.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import measuring
import numpy as np
import torch
from clustered import Clusters, blocks_of
from search_peers import recall

from histo_index.arrays import Float16, Int64
from histo_index.indexer.format.records import SearchConfig
from histo_index.indexer.nearest.candidates import CandidateSearch
from histo_index.indexer.nearest.choose import choose_structure
from histo_index.indexer.nearest.exact import ExactSearch
from histo_index.indexer.nearest.faiss_index import make_candidates
from histo_index.indexer.nearest.gpu import candidates_on_gpu, exact_on_gpu, gpu_count
from histo_index.indexer.nearest.torch_exact import TorchSearch

K: Final = 10
# Queries on the CPU, the peer of each rate.
_FEW: Final = 100
_DRAWN: Final = 100_000
_COPIED_BYTES: Final = 1 << 30
# So many queries before a GPU is started: the CPU goes on.
_NEVER: Final = 10**12
# As the defaults were tuned to at a million; see `histo-index info`.
_EFFORT, _CANDIDATES = 64, 128


def main() -> None:
    options = measuring.parser(__doc__)
    options.add_argument("--rows", type=int, default=1_000_000, help="N")
    options.add_argument("--size", type=int, default=2048, help="D")
    options.add_argument("--queries", type=int, default=1000, help="in a batch")
    options.add_argument("--repeats", type=int, default=3, help="runs of each")
    options.add_argument("--device", default="cuda" if torch.cuda.is_available() else None)
    options.add_argument("--folder", type=Path, help="keep the vectors here, or use what is there")
    given = options.parse_args()
    if given.device is None:
        options.error("no CUDA device here; --device cpu shows that the code works")
    with tempfile.TemporaryDirectory(prefix="histo-index-gpu-") as name:
        clusters = Clusters(count=1000, size=given.size, spread=0.35)
        matrix = prepare(given.folder or Path(name), clusters, given.rows, given.size)
        queries = clusters.draw(given.queries, seed=0)
        measuring.print_machine()
        bandwidth = copy_rate(given.device)
        print(f"{given.device}: {bandwidth / 1e9:,.0f} GB/s read and written in a large copy\n")
        report_exact(matrix, queries, given.device, bandwidth, repeats=given.repeats)
        report_candidates(matrix, queries, repeats=given.repeats)


def prepare(folder: Path, clusters: Clusters, rows: int, size: int) -> Float16:
    """Draw vectors into a mapped file, unless it is there: float16 [N, D]."""
    path = folder / f"{rows}x{size}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        matrix = np.lib.format.open_memmap(path, "w+", np.float16, (rows, size))
        for number, start in enumerate(range(0, rows, _DRAWN)):
            measuring.tell(f"drawing {start:,} of {rows:,}")
            part = matrix[start : start + _DRAWN]
            part[:] = clusters.draw(len(part), seed=1 + number)
        matrix.flush()
    found: Float16 = np.load(path, mmap_mode="r")
    return found


def copy_rate(device: str) -> float:
    """Measure how many bytes a second the device reads and writes, the best of five copies."""
    source = torch.ones(_COPIED_BYTES, dtype=torch.uint8, device=device)
    target, rates = torch.empty_like(source), []
    for _ in range(5):
        wait(device)
        started = time.perf_counter()
        target.copy_(source)
        wait(device)
        rates.append(2 * _COPIED_BYTES / (time.perf_counter() - started))
    return max(rates)


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def report_exact(
    matrix: Float16, queries: Float16, device: str, bandwidth: float, *, repeats: int
) -> None:
    """Search exactly: vectors that stay on the device, vectors that pass through it, the CPU."""
    asked = queries.astype(np.float32)
    started = time.perf_counter()
    kept = TorchSearch(matrix, device=device, room_bytes=matrix.nbytes)
    loading = time.perf_counter() - started
    passing = TorchSearch(matrix, device=device, room_bytes=0)
    exact = ExactSearch(matrix, gpu=exact_on_gpu(matrix, worth=_NEVER * matrix.size))
    truth = exact.search(asked[:_FEW], K)
    jobs = {
        "kept there, a batch": (kept.search, asked),
        "kept there, one by one": (kept.search, asked[:1]),
        "passing through, a batch": (passing.search, asked),
        "the CPU, a batch": (exact.search, asked[:_FEW]),
    }
    rates = measuring.interleave(
        {name: _job(search, some) for name, (search, some) in jobs.items()}, repeats=repeats
    )
    base, rows = rates["the CPU, a batch"], []
    for name, (search, some) in jobs.items():
        shares = [100 * rate / len(some) * matrix.nbytes / bandwidth for rate in rates[name]]
        right = recall(search(some, K)[: len(truth)], truth[: len(some)])
        found = [rates[name], measuring.ratios(rates[name], base)]
        cells = [measuring.spread(values) for values in found]
        rows.append((name, *cells, f"{measuring.spread(shares)} %", f"{right:.4f}"))
    print(f"exact, {len(matrix):,} x {matrix.shape[1]}, {loading:.1f} s until they are there\n")
    measuring.print_table(_EXACT_HEADER, rows)


_EXACT_HEADER: Final = (
    "exact search", "queries/s", "× the CPU", "of the copy's bytes/s", "as on the CPU"
)  # fmt: skip


def report_candidates(matrix: Float16, queries: Float16, *, repeats: int) -> None:
    """Find candidates where FAISS has a GPU."""
    if not gpu_count():
        print("\nFAISS has no GPU here: candidates are not measured")
        return
    factory = choose_structure(max(len(matrix), 50_000), matrix.shape[1], SearchConfig())
    sample = matrix[: min(len(matrix), 250_000)]
    index = make_candidates(factory, sample, blocks_of(matrix), size=matrix.shape[1])
    searches = {
        "the CPU": _candidates(index, matrix, after=_NEVER),
        "the GPU": _candidates(index, matrix, after=0),
    }
    asked = queries.astype(np.float32)
    found = {name: search.search(asked, K) for name, search in searches.items()}
    alike = recall(found["the GPU"], found["the CPU"])
    jobs = {name: _job(search.search, asked) for name, search in searches.items()}
    rates = measuring.interleave(jobs, repeats=repeats)
    print()
    measuring.print_table(
        (f"candidates of {factory}", "queries/s, a batch", "× the CPU", "as on the CPU"),
        [
            (
                name,
                measuring.spread(rates[name]),
                measuring.spread(measuring.ratios(rates[name], rates["the CPU"])),
                f"{alike:.4f}",
            )
            for name in searches
        ],
    )


def _candidates(index: Any, matrix: Float16, *, after: int) -> CandidateSearch:
    return CandidateSearch(
        index,
        ExactSearch(matrix),
        effort=_EFFORT,
        candidates=_CANDIDATES,
        gpu=candidates_on_gpu(index, after=after),
    )


def _job(search: Callable[[Any, int], Int64], queries: Any) -> measuring.Job:
    return lambda: len(search(queries, K))


if __name__ == "__main__":
    main()
