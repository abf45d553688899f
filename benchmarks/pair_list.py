"""A long pair list over indexed images: CSV to CSV, and scoring compared with memory bandwidth.

Scoring is timed in seconds of one core, so that what others do on a shared machine does not count.
"""

import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import measuring
import numpy as np
import psutil  # type: ignore[import-untyped]
import pyarrow as pa
import pyarrow.csv as pa_csv
from clustered import Clusters, prepare_index

import histo_index
from histo_index.arrays import Float16, Float32, Int64
from histo_index.commands.result_files import write_scores
from histo_index.hardware import usable_cores
from histo_index.indexer.reader import OpenIndex
from histo_index.search.distance import indexed_pair_distances

Score = Callable[[Int64, Int64], Float32]

STAGES: Final = {
    "open the index": "api/index.py:open",
    "read the list": "search/inputs/pair_list.py:read_pair_list",
    "resolve names": "search/inputs/resolve.py:Resolver.resolve",
    "score": "search/distance.py:indexed_pair_distances",
    "verdicts and table": "search/answers/pair_list.py:_scores",
    "write the answers": "commands/result_files.py:write_scores",
}
# Rows gathered at a time: 1 MB of 2048-d float16 stays in a core's own cache.
_GATHER_ROWS: Final = 256
# Pairs at a time for those that convert ahead: 2 × 4 MB of float32. numpy is quickest with 128 to
# 1024; with 4096 it pays for fresh pages each time and is half as fast.
_CHUNK_PAIRS: Final = 512
# Larger than the matrix of 100,000 rows, so no cache serves the copy better than the gather.
_COPY_BYTES: Final = 1 << 30


def main() -> None:
    options = measuring.parser(__doc__)
    options.add_argument("--pairs", type=int, default=1_000_000, help="P")
    options.add_argument("--rows", type=int, default=100_000, help="N, indexed images")
    options.add_argument("--size", type=int, default=2048, help="D, numbers in an embedding")
    options.add_argument("--repeats", type=int, default=5, help="runs of each")
    options.add_argument(
        "--plain-pairs", type=int, default=200_000, help="pairs for the slow plain forms"
    )
    options.add_argument("--folder", type=Path, help="keep the index here, or use what is there")
    options.add_argument("--scoring-only", action="store_true", help="leave out the whole list")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="histo-index-pairs-") as name:
        folder = given.folder or Path(name)
        clusters = Clusters(count=1000, size=given.size, spread=0.35)
        index = prepare_index(folder, clusters, rows=given.rows, size=given.size)
        left, right = np.random.default_rng(1).integers(given.rows, size=(2, given.pairs))
        measuring.print_machine()
        scoring = compare_scoring(
            OpenIndex(index), left, right, plain_pairs=given.plain_pairs, repeats=given.repeats
        )
        print(f"{given.pairs:,} pairs of {given.rows:,} images")
        opened, nothing = OpenIndex(index), np.empty((0, given.size), np.float16)
        report_memory(lambda: indexed_pair_distances(opened, nothing, left, right))
        report_scoring(scoring, row_bytes=2 * given.size)
        if given.scoring_only:
            return
        pair_list = write_pair_list(folder / "pairs.csv", left, right)
        whole = run_whole(index, pair_list, folder, repeats=given.repeats)
        wall, stages = measuring.profile_stages(whole_job(index, pair_list, folder), STAGES)
        peak = measuring.watch_memory(command_line(index, pair_list, folder))
        report_whole(whole, stages, wall, peak, rows=given.rows)


def write_pair_list(path: Path, left: Int64, right: Int64) -> Path:
    """Write the list as people do: file names, two columns, a header."""
    names = pa.array([measuring.tile_name(row) for row in range(max(left.max(), right.max()) + 1)])
    columns = {"image_a": names.take(pa.array(left)), "image_b": names.take(pa.array(right))}
    pa_csv.write_csv(pa.table(columns), path, pa_csv.WriteOptions(quoting_style="none"))
    return path


def whole_job(index: Path, pair_list: Path, folder: Path) -> measuring.Job:
    """Open, read, score and write through the public interface, as the command line does."""

    def job() -> int:
        scores = histo_index.open(index).pairs(pair_list)
        write_scores(scores, folder / "answers.csv", form="table")
        assert scores.answered == scores.pairs
        return scores.pairs

    return job


def run_whole(index: Path, pair_list: Path, folder: Path, *, repeats: int) -> list[float]:
    job = whole_job(index, pair_list, folder)
    job()
    return measuring.interleave({"whole list": job}, repeats=repeats)["whole list"]


def command_line(index: Path, pair_list: Path, folder: Path) -> list[str]:
    program = [sys.executable, "-m", "histo_index", "pairs", str(pair_list)]
    return [*program, "-o", str(folder / "cli.csv"), "-i", str(index)]


def compare_scoring(
    index: OpenIndex, left: Int64, right: Int64, *, plain_pairs: int, repeats: int
) -> dict[str, list[float]]:
    """Measure scoring alone, what others reach, and what memory allows, in turn."""
    nothing = np.empty((0, index.manifest.vector_size), np.float16)
    matrix = index.matrix
    forms: dict[str, Score] = {
        "scoring": lambda a, b: indexed_pair_distances(index, nothing, a, b),
        "numpy": lambda a, b: numpy_distances(matrix, a, b),
    }
    if (peer := sklearn_form(matrix)) is not None:
        forms["sklearn"] = peer
    check_agreement(forms, left[:plain_pairs], right[:plain_pairs])
    jobs: dict[str, measuring.Job] = {}
    for name, form in forms.items():
        count = len(left) if name == "scoring" else plain_pairs
        jobs[name] = _scoring_job(form, left[:count], right[:count])
    order = np.stack([left, right], axis=1).ravel()
    jobs["gather"] = lambda: gather_rows(matrix, order)
    jobs["read"] = lambda: read_in_sequence(matrix)
    jobs["copy"] = copy_job()
    for job in jobs.values():
        job()
    return measuring.interleave(jobs, repeats=repeats, clock=time.process_time)


def _scoring_job(form: Score, left: Int64, right: Int64) -> measuring.Job:
    def job() -> int:
        return len(form(left, right))

    return job


def numpy_distances(matrix: Float16, left: Int64, right: Int64) -> Float32:
    """Score in the plain form: gather, convert, subtract, square, chunk by chunk, on all cores."""
    distances, workers = np.empty(len(left), np.float32), usable_cores()

    def work(number: int) -> None:
        for start in range(number * _CHUNK_PAIRS, len(left), workers * _CHUNK_PAIRS):
            part = slice(start, start + _CHUNK_PAIRS)
            gap = matrix[left[part]].astype(np.float32) - matrix[right[part]].astype(np.float32)
            distances[part] = np.einsum("pd,pd->p", gap, gap)

    measuring.split_work(work, workers=workers)
    return distances


def sklearn_form(matrix: Float16) -> Score | None:
    """Score with scikit-learn, chunk by chunk; None where it is not installed."""
    try:
        from sklearn.metrics.pairwise import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
            paired_euclidean_distances,
        )
    except ImportError:
        return None

    def score(left: Int64, right: Int64) -> Float32:
        distances = np.empty(len(left), np.float32)
        for start in range(0, len(left), _CHUNK_PAIRS):
            part = slice(start, start + _CHUNK_PAIRS)
            halves = (matrix[rows[part]].astype(np.float32) for rows in (left, right))
            distances[part] = paired_euclidean_distances(*halves) ** 2
        return distances

    return score


def report_memory(score: Callable[[], Float32]) -> None:
    """Watch this process while it scores: what it holds beyond its answer."""
    process, most, is_done = psutil.Process(), 0, threading.Event()

    def held() -> int:
        memory = process.memory_info()
        return int(memory.rss - memory.shared)

    before = held()

    def watch() -> None:
        nonlocal most
        while not is_done.wait(0.01):
            most = max(most, held())

    watcher = threading.Thread(target=watch)
    watcher.start()
    answer = score()
    is_done.set()
    watcher.join()
    grown = (max(most, held()) - before - answer.nbytes) / 1e6
    print(f"Scoring holds {grown:,.0f} MB beside its answer of {answer.nbytes / 1e6:,.0f} MB.")


def check_agreement(forms: dict[str, Score], left: Int64, right: Int64) -> None:
    """Refuse to compare forms that do not compute the same."""
    expected, *others = (form(left, right) for form in forms.values())
    for found in others:
        np.testing.assert_allclose(found, expected, atol=1e-4)


def gather_rows(matrix: Float16, order: Int64) -> int:
    """Read rows in the order of the list with all cores, doing nothing with them."""
    workers = usable_cores()

    def work(number: int) -> None:
        buffer = np.empty((_GATHER_ROWS, matrix.shape[1]), np.float16)
        for start in range(number * _GATHER_ROWS, len(order), workers * _GATHER_ROWS):
            rows = order[start : start + _GATHER_ROWS]
            # Unless it clips, numpy copies into its own buffer first.
            np.take(matrix, rows, axis=0, out=buffer[: len(rows)], mode="clip")

    measuring.split_work(work, workers=workers)
    return len(order) // 2


def read_in_sequence(matrix: Float16) -> int:
    """Read all rows in the order they lie in with all cores; numpy's quickest that reads only.

    It was within 5 % of a compiled loop and of XXH3 over the same bytes.
    """
    workers = usable_cores()
    parts = np.array_split(matrix.view(np.int64).reshape(-1), workers)
    measuring.split_work(lambda n: np.bitwise_xor.reduce(parts[n]), workers=workers)
    return matrix.nbytes


def copy_job() -> measuring.Job:
    """Copy a gigabyte with all cores; every byte counts once read and once written."""
    workers = usable_cores()
    source, target = np.ones(_COPY_BYTES, np.uint8), np.zeros(_COPY_BYTES, np.uint8)
    parts = list(zip(np.array_split(source, workers), np.array_split(target, workers), strict=True))

    def job() -> int:
        measuring.split_work(lambda n: np.copyto(parts[n][1], parts[n][0]), workers=workers)
        return 2 * _COPY_BYTES

    return job


def report_whole(
    whole: list[float],
    stages: dict[str, float],
    wall: float,
    peak: measuring.Peak,
    *,
    rows: int,
) -> None:
    print(
        f"CSV in, CSV out, {rows:,} indexed images: {measuring.spread(whole, digits=0)} pairs/s; "
        f"`histo-index pairs` holds at most {peak.private / 1e6:,.0f} MB of private memory, "
        f"{peak.resident / 1e6:,.0f} MB with the mapped index.\n"
    )
    named = {**stages, "everything else": wall - sum(stages.values())}
    cells = [(name, f"{s:.2f}", f"{100 * s / wall:.0f} %") for name, s in named.items()]
    measuring.print_table(("stage", "s (one run under the profiler)", "share"), cells)


def report_scoring(rates: dict[str, list[float]], *, row_bytes: int) -> None:
    names = {
        "scoring": "`indexed_pair_distances`",
        "numpy": "numpy, gather in chunks, all cores",
        "sklearn": "scikit-learn `paired_euclidean_distances`, one core",
        "gather": "numpy reads both rows of each pair and no more",
    }
    rows = []
    for key, name in names.items():
        if key in rates:
            bytes_read = [2 * row_bytes * rate for rate in rates[key]]
            shares = (
                [100 * part for part in measuring.ratios(bytes_read, rates[limit])]
                for limit in ("read", "copy")
            )
            times = measuring.ratios(rates[key], rates["numpy"])
            cells = (measuring.spread(rates[key], digits=0), measuring.spread(times))
            rows.append((name, *cells, *(measuring.spread(share, digits=0) for share in shares)))
    read, copied = ([rate / 1e9 for rate in rates[limit]] for limit in ("read", "copy"))
    print(
        f"\nMemory, GB a core-second: the vectors in sequence {measuring.spread(read)}, read only; "
        f"one large copy {measuring.spread(copied)}, read and written.\n"
    )
    header = ("scoring alone", "pairs/core-s", "× numpy", "% of reading", "% of a copy")
    measuring.print_table(header, rows)


if __name__ == "__main__":
    main()
