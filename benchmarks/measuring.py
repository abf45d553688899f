"""Shared by the benchmarks: interleaved timing, stages, memory, tables, a synthetic index."""

import argparse
import cProfile
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import psutil  # type: ignore[import-untyped]

from histo_index.hardware import usable_cores
from histo_index.indexer.build import build as build_index
from histo_index.indexer.build_config import BuildConfig
from histo_index.indexer.hashing.files import hash_file

# Does some work and tells how many items it dealt with.
Job = Callable[[], int]

# Often enough for peaks of a tenth of a second, at under 2 % of a core.
_SAMPLE_S: Final = 0.01
# Rests so many times as long as a look at the memory took.
_PAUSE: Final = 9


@dataclass(frozen=True, kw_only=True)
class Peak:
    """The largest memory of a process and all its descendants together, in bytes.

    Attributes:
        resident: pages in memory; pages of files and libraries count once in each process.
        private: of them those that belong to no file.
    """

    resident: int
    private: int


@dataclass(frozen=True, kw_only=True)
class SyntheticTile:
    """What an encoder would give for one tile; see `encoder_protocol.Encoded`."""

    embedding: npt.NDArray[np.float32]
    sha256: str
    width: int = 256
    height: int = 256
    note: str | None = None


class SyntheticEncoder:
    """Draws embeddings instead of computing them; an `Encode` for `build`."""

    fingerprint: Final = "synthetic"
    max_pixels: Final = 64_000_000

    def __init__(self, folder: Path, *, size: int) -> None:
        self.folder = folder
        self.embedding_size = size

    def card(self) -> Mapping[str, Any]:
        threshold = {"value": 2.0, "origin": "made up for a benchmark"}
        return {
            "fingerprint": self.fingerprint,
            "architecture": "synthetic",
            "embedding_size": self.embedding_size,
            "is_trained": True,
            "mpp": None,
            "threshold": threshold,
            "diffused_threshold": None,
            "licence": None,
            "declared": None,
        }

    def describe(self) -> Mapping[str, str]:
        return {"name": "synthetic", "device": "none", "precision": "none"}

    def encode_files(self, paths: Iterable[Path]) -> Iterator[SyntheticTile]:
        rng = np.random.default_rng(0)
        for path in paths:
            vector = rng.standard_normal(self.embedding_size, np.float32)
            vector /= np.linalg.norm(vector)
            yield SyntheticTile(embedding=vector, sha256=hash_file(path))


def make_synthetic_index(folder: Path, *, rows: int, size: int = 2048) -> Path:
    """Build an index through the real writing path, of drawn embeddings.

    Args:
        folder: gets `tiles/0000000.png` and so on, which are no pictures, and `tiles.hx`.
        rows: N.
        size: D.

    Returns:
        The index.
    """
    tell(f"making an index of {rows:,} synthetic embeddings of {size}")
    tiles, encoder = folder / "tiles", folder / "encoder"
    tiles.mkdir(parents=True)
    encoder.mkdir()
    for row in range(rows):
        (tiles / tile_name(row)).write_text(str(row))
    config = BuildConfig(sources=[tiles], output=folder / "tiles.hx")
    return build_index(config, SyntheticEncoder(encoder, size=size)).index


def tile_name(row: int) -> str:
    """Name the tile of a row of a synthetic index."""
    return f"{row:07d}.png"


def interleave(
    jobs: Mapping[str, Job], *, repeats: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Run jobs in turn, A B C A B C, so that a busy minute of the machine hits all alike.

    Args:
        jobs: name to job.
        repeats: how often each is run.
        clock: `time.process_time` counts the seconds of all cores together, and leaves out those
            in which others had the machine.

    Returns:
        Name to items per second, a number per repeat.
    """
    rates: dict[str, list[float]] = {name: [] for name in jobs}
    for repeat in range(repeats):
        for name, job in jobs.items():
            started = clock()
            items = job()
            seconds = clock() - started
            rates[name].append(items / seconds)
            if seconds > 1:
                tell(f"repeat {repeat + 1}: {name}: {items / seconds:,.1f}/s in {seconds:.1f} s")
    return rates


def profile_stages(job: Job, stages: Mapping[str, str]) -> tuple[float, dict[str, float]]:
    """Run a job once under the profiler and return the time that some functions took.

    Args:
        job: what to run.
        stages: name to function, such as `search/distance.py:pair_distances`; time in the
            functions it calls counts, time in other threads does not.

    Returns:
        Seconds in total, and seconds by name.
    """
    profile = cProfile.Profile()
    started = time.perf_counter()
    profile.runcall(job)
    wall = time.perf_counter() - started
    found = {
        f"{entry.code.co_filename.split('/histo_index/')[-1]}:{entry.code.co_qualname}": (
            entry.totaltime
        )
        for entry in profile.getstats()
        if not isinstance(entry.code, str)
    }
    for function in sorted(set(stages.values()) - set(found)):
        tell(f"the profile has no {function}: it was not called, or was renamed")
    return wall, {name: found.get(function, 0.0) for name, function in stages.items()}


def watch_memory(command: Sequence[str]) -> Peak:
    """Run a command and watch the memory of its whole process tree.

    A child that has not yet turned into its own program counts as large as its parent. Such a
    moment is over by the next sample, so the lesser of two samples in a row is taken; shorter peaks
    of the command's first process are known from the kernel's own record.

    `ru_maxrss` is no use: it starts from the size of the process that started the command (500 MB
    for a command of 11 MB, seen here).

    Raises:
        subprocess.CalledProcessError: the command fails.
    """
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    resident = private = 0
    before = (0, 0)
    while process.poll() is None:
        started = time.thread_time()
        now = _tree_memory(process.pid)
        resident = max(resident, min(before[0], now[0]), _own_peak(process.pid))
        private = max(private, min(before[1], now[1]))
        before = now
        # To look through all processes takes a while: at most a tenth of a core.
        time.sleep(max(_SAMPLE_S, _PAUSE * (time.thread_time() - started)))
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Peak(resident=resident, private=private)


def _own_peak(pid: int) -> int:
    """Read the largest resident size of one process so far; 0 where Linux's record is missing."""
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next((int(s.split()[1]) << 10 for s in lines if s.startswith("VmHWM")), 0)
    return 0


def _tree_memory(pid: int) -> tuple[int, int]:
    """Add up a process and its descendants: bytes resident, and of them in no file."""
    resident = of_files = 0
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        for process in [parent, *parent.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                memory = process.memory_info()
                resident += memory.rss
                of_files += getattr(memory, "shared", 0)
    return resident, resident - of_files


def cpu_seconds() -> float:
    """Return the CPU time of this process and of its children, also those that run."""
    own = psutil.Process()
    running = [child.cpu_times() for child in own.children(recursive=True)]
    now = own.cpu_times()
    parts = [now.user, now.system, now.children_user, now.children_system]
    return float(sum(parts) + sum(times.user + times.system for times in running))


def usable_precisions() -> list[str]:
    """List the encoder's precisions that this CPU has; name on stderr what is left out."""
    # Imported here: it loads OpenVINO, which only some benchmarks need.
    from histo_index.encoder.runtime.openvino import has_bfloat16

    if has_bfloat16():
        return ["float32", "bfloat16"]
    tell("this CPU has no bfloat16: its rows are left out")
    return ["float32"]


def split_work(work: Callable[[int], None], *, workers: int) -> None:
    """Run `work(0)` to `work(workers - 1)` in threads of their own, and wait."""
    threads = [threading.Thread(target=work, args=(number,)) for number in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def ratios(rates: Sequence[float], base: Sequence[float]) -> list[float]:
    """Divide repeat by repeat: what ran side by side is compared."""
    return [rate / reference for rate, reference in zip(rates, base, strict=True)]


def spread(values: Sequence[float], *, digits: int = 1) -> str:
    """Write median, least and greatest: `12.3 (11.9…12.8)`."""
    middle, least, most = (f"{f(values):,.{digits}f}" for f in (median, min, max))
    return f"{middle} ({least}…{most})"


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a Markdown table."""
    for cells in (header, ["---"] * len(header), *rows):
        print(f"| {' | '.join(cells)} |")


def print_machine() -> None:
    """Print what the figures were taken on."""
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((s.split(": ")[1] for s in lines if s.startswith("model name")), model)
    print(f"\n{usable_cores()} cores, {model}, Python {platform.python_version()}{load}.\n")


def tell(message: str) -> None:
    """Say on stderr what is going on."""
    print(message, file=sys.stderr, flush=True)


def parser(description: str | None) -> argparse.ArgumentParser:
    """Make a command line whose help shows the defaults."""
    return argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
