"""Builds by processes and by Ray on this machine against one process; search in parts.

    python benchmarks/cluster.py --shards 40 --rows 100000

Encoding is work of a fixed size on one core, so that ratios are those of the engines: no network
and no decoder takes part. The start of an engine is that of a build of one shard, taken off.
"""

import argparse
import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from measuring import SyntheticTile

import histo_index
from histo_index.api.cluster.search import sharded_search
from histo_index.cluster.building.processes import ProcessRunner
from histo_index.cluster.building.ray_runner import RayRunner
from histo_index.cluster.searching.merge import Ranked, merge
from histo_index.indexer.build import build
from histo_index.indexer.build_config import BuildConfig
from histo_index.indexer.runner import Runner

SIZE: Final = 64
SHARD_ROWS: Final = 16
# Hashing that often a megabyte takes some 12 ms of a core.
_ROUNDS: Final = 20
_BLOCK: Final = bytes(2**20)


@dataclass(frozen=True, kw_only=True)
class Busy:
    """An encoder that keeps one core busy for the same time with every tile.

    Attributes:
        folder: its files.
        log: gets a line per call: the process, its CPU seconds at the start and at the end.
    """

    folder: Path
    log: Path | None = None
    fingerprint: str = "b" * 32
    embedding_size: int = SIZE
    max_pixels: int = 1000

    def __call__(self) -> "Busy":
        return self

    def card(self) -> Mapping[str, Any]:
        return {
            "fingerprint": self.fingerprint, "architecture": "busy", "embedding_size": SIZE,
            "is_trained": True, "mpp": None, "threshold": None, "diffused_threshold": None,
            "licence": None, "declared": None,
        }  # fmt: skip

    def describe(self) -> Mapping[str, str]:
        return {"name": "busy", "device": "cpu", "precision": "float32"}

    def encode_files(self, paths: Iterable[Path]) -> Iterator[SyntheticTile]:
        started = time.process_time()
        try:
            yield from map(self._encode, paths)
        finally:
            if self.log is not None:
                with open(self.log, "a") as file:
                    file.write(f"{os.getpid()} {started} {time.process_time()}\n")

    def _encode(self, path: Path) -> SyntheticTile:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        for _ in range(_ROUNDS):
            hashlib.sha256(_BLOCK).digest()
        vector = np.random.default_rng(int(digest[:8], 16)).normal(size=SIZE)
        unit = (vector / np.linalg.norm(vector)).astype(np.float32)
        return SyntheticTile(embedding=unit, sha256=digest)


def measure_builds(folder: Path, shards: int) -> None:
    """Print the rate of each engine, and what it costs beside one process."""
    encoder = Busy(folder=folder / "encoder")
    encoder.folder.mkdir()
    (encoder.folder / "config.json").write_text("{}")
    tiles = write_tiles(folder / "tiles", shards * SHARD_ROWS)
    few = write_tiles(folder / "few", SHARD_ROWS)
    engines: dict[str, Runner | None] = {"one process, here": None}
    for workers in (1, 2):
        engines[f"processes, {workers}"] = ProcessRunner(make_encode=encoder, workers=workers)
        engines[f"ray, {workers}"] = RayRunner(make_encode=encoder, workers=workers)
    alone = 0.0
    for name, runner in engines.items():
        start = time_build(few, folder, encoder, runner)
        whole = time_build(tiles, folder, encoder, runner)
        rate = (shards - 1) * SHARD_ROWS / (whole - start)
        alone = alone or rate
        workers = int(name[-1]) if name[-1].isdigit() else 1
        own = SHARD_ROWS / rate * workers - SHARD_ROWS / alone
        print(
            f"{name:<20} {rate:7.1f} tiles/s, {rate / alone / workers:5.2f} of {workers} × one "
            f"process, {1000 * own:6.1f} ms more a shard, start and one shard {start:5.1f} s"
        )


def time_build(tiles: Path, folder: Path, encoder: Busy, runner: Runner | None) -> float:
    """Return the seconds of a build into a new index."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        config = BuildConfig(
            sources=[tiles], output=Path(name) / "x.hx", shard_rows=SHARD_ROWS, runner=runner,
            distance="plain",
        )  # fmt: skip
        started = time.perf_counter()
        build(config, encoder)
        return time.perf_counter() - started


def write_tiles(folder: Path, count: int) -> Path:
    """Write files of different content."""
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:06}.png").write_bytes(str(number).encode())
    return folder


def measure_search(folder: Path, rows: int, repeats: int) -> None:
    """Print the latency of single queries, in one process and in two parts."""
    random = np.random.default_rng(0)
    vectors = random.normal(size=(rows, 256)).astype(np.float32)
    ids = [f"t{number:07}" for number in range(rows)]
    index = histo_index.from_embeddings(ids, vectors, folder / "s.hx", distance="plain")
    queries = ids[:: rows // repeats][:repeats]
    exact = index.opened.exact
    index.opened.search_by(exact)
    print_latency("one process, exact", index, queries)
    index.opened.search_by(None)
    with sharded_search(index, parts=2):
        index.search(queries[0], k=10)  # parts open at the first question
        print_latency("two parts, ray", index, queries)


def print_latency(name: str, index: histo_index.Index, queries: list[str]) -> None:
    """Print the median and 99th percentile of the time of a search for ten neighbours."""
    times = []
    for query in queries:
        started = time.perf_counter()
        index.search(query, k=10)
        times.append(1000 * (time.perf_counter() - started))
    low, high = np.percentile(times, [50, 99])
    print(f"{name:<20} p50 {low:6.1f} ms, p99 {high:6.1f} ms")


def measure_merge(parts: int, queries: int, count: int) -> None:
    """Print how long answers of many parts take to join."""
    random = np.random.default_rng(0)
    ranked = []
    for part in range(parts):
        distances = np.sort(random.random((queries, count), np.float32), axis=1)
        rows = random.integers(part * 10**7, (part + 1) * 10**7, (queries, count))
        ranked.append(Ranked(rows=rows, distances=distances))
    started = time.perf_counter()
    merge(ranked, count)
    took = 1e6 * (time.perf_counter() - started) / queries
    print(f"merge of {parts} parts, {count} neighbours: {took:.0f} µs a query")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=40)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=100)
    options = parser.parse_args()
    logging.getLogger("histo_index").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as name:
        measure_builds(Path(name), options.shards)
        measure_search(Path(name), options.rows, options.repeats)
    measure_merge(16, 1_000, 100)


if __name__ == "__main__":
    main()
