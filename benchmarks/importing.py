"""Compare the time of importing features with that of reading their file, and measure memory.

    python benchmarks/importing.py --rows 1000000 --size 1024 --layout clam --folder SCRATCH

The file is in the layout of the program: chunks of 32 rows (CLAM), of one row (TRIDENT), or none
(NumPy). "Reading" is h5py or NumPy alone, in blocks of 8 MB. "Taking in" ends when all rows are in
shards; what follows derives the search files, as every build does. "Floor" reads the same blocks,
rounds them to half floats and writes them to one file: one process, nothing checked, scaled,
named or hashed.
"""

import argparse
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import measuring
import numpy as np
import numpy.typing as npt

from histo_index.api.features.import_features import import_features
from histo_index.api.features.options import FeatureOptions
from histo_index.indexer.format.records import SearchConfig
from histo_index.indexer.nearest.kernel import to_float16
from histo_index.limits import without_pandas
from histo_index.progress import Progress, listening

_BLOCK_BYTES = 2**23
_SLIDE_ROWS = 10_000


def write_files(folder: Path, layout: str, rows: int, size: int) -> list[Path]:
    """Write slides of 10,000 tiles each; NumPy is one file."""
    generator = np.random.default_rng(0)
    block = generator.standard_normal((_SLIDE_ROWS, size)).astype(np.float32)
    folder.mkdir(parents=True)
    if layout == "npy":
        path = folder / "tiles.npy"
        shape = (rows, size)
        matrix = np.lib.format.open_memmap(path, "w+", np.float32, shape)
        for start in range(0, rows, _SLIDE_ROWS):
            part = block[: rows - start]
            matrix[start : start + len(part)] = np.roll(part, start // _SLIDE_ROWS, axis=1)
        matrix.flush()
        path.with_suffix(".txt").write_text("".join(f"tile-{n}\n" for n in range(rows)))
        return [path]
    at = np.arange(_SLIDE_ROWS)
    places = np.stack([at % 100, at // 100], axis=1) * 512
    paths = []
    for number in range(-(-rows // _SLIDE_ROWS)):
        count = min(_SLIDE_ROWS, rows - number * _SLIDE_ROWS)
        path = folder / f"s{number:04}.h5"
        chunk = 32 if layout == "clam" else 1
        with h5py.File(path, "w") as file:
            shape = (count, size)
            features = file.create_dataset(
                "features", shape, np.float32, chunks=(chunk, size), maxshape=(None, size)
            )
            features[:] = np.roll(block[:count], number, axis=1)
            coords = file.create_dataset("coords", data=places[:count], chunks=(chunk, 2))
            coords.attrs.update(
                {"patch_size": 256, "patch_size_level0": 512, "target_magnification": 20}
            )
        paths.append(path)
    return paths


def evict(paths: list[Path]) -> None:
    """Ask the system to forget the files, so that they come from the disk."""
    os.sync()
    for path in paths:
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_blocks(paths: list[Path], size: int) -> Iterator[npt.NDArray[np.float32]]:
    """Read all numbers in blocks."""
    step = _BLOCK_BYTES // (4 * size)
    for path in paths:
        if path.suffix == ".npy":
            with open(path, "rb") as file:
                np.lib.format.read_magic(file)
                np.lib.format.read_array_header_1_0(file)
                while data := file.read(_BLOCK_BYTES):
                    yield np.frombuffer(data, np.float32).reshape(-1, size)
            continue
        with h5py.File(path, "r") as file:
            features: Any = file["features"]
            for start in range(0, len(features), step):
                yield features[start : start + step]


def time_reading(paths: list[Path], size: int, target: Path | None = None) -> tuple[float, float]:
    """Return wall and CPU seconds of reading alone, or of the floor if there is a target."""
    started, used = time.perf_counter(), measuring.cpu_seconds()
    if target is None:
        for _ in read_blocks(paths, size):
            pass
    else:
        with open(target, "wb") as file:
            for block in read_blocks(paths, size):
                file.write(to_float16(block).data)
            os.fsync(file.fileno())
    return time.perf_counter() - started, measuring.cpu_seconds() - used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--layout", choices=("clam", "trident", "npy"), default="clam")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--cold", action="store_true", help="read from the disk, not from memory")
    parser.add_argument("--memory", action="store_true", help="import again, watching memory")
    parser.add_argument("--structure", default=None)
    parser.add_argument("--distance", default=None)
    arguments = parser.parse_args()
    work = arguments.folder / "importing"
    shutil.rmtree(work, ignore_errors=True)
    paths = write_files(work / "files", arguments.layout, arguments.rows, arguments.size)
    total = sum(path.stat().st_size for path in paths) / 1e6
    reading, floor = [], []
    for _ in range(2):
        if arguments.cold:
            evict(paths)
        reading.append(time_reading(paths, arguments.size))
        if arguments.cold:
            evict(paths)
        floor.append(time_reading(paths, arguments.size, work / "floor"))
        (work / "floor").unlink()
    taken = [0.0, 0.0]

    def listen(state: Progress) -> None:
        # The last report counts; to ask for the times of processes at each takes long.
        if state.stage == "writing" and state.done == arguments.rows:
            taken[:] = time.perf_counter(), measuring.cpu_seconds()

    options = FeatureOptions(
        slide_mpp={f"s{number:04}": 0.25 for number in range(len(paths))},
        distance=arguments.distance,
        search=SearchConfig(structure=arguments.structure),
    )
    if arguments.cold:
        evict(paths)
    # As on the command line: pandas takes a quarter of a second to import.
    with without_pandas(), listening(listen):
        started, used = time.perf_counter(), measuring.cpu_seconds()
        report = import_features(work / "files", work / "x.hx", options)
        ended, all_used = time.perf_counter(), measuring.cpu_seconds()
    assert report.tiles == arguments.rows, report.reasons
    inside, inside_cpu = taken[0] - started, taken[1] - used
    (best, best_cpu), (least, least_cpu) = min(reading), min(floor)
    print(f"{arguments.layout}: {arguments.rows:,} × {arguments.size:,}, {total:,.0f} MB")
    print(f"  reading    {best:7.1f} s  {total / best:7.0f} MB/s  {best_cpu:7.1f} s of CPU")
    print(f"  floor      {least:7.1f} s  {total / least:7.0f} MB/s  {least_cpu:7.1f} s of CPU")
    print(f"  taking in  {inside:7.1f} s  {total / inside:7.0f} MB/s  {inside_cpu:7.1f} s of CPU")
    print(f"  share      {best / inside:7.2f} of the speed of reading")
    print(f"             {least / inside:7.2f} of the speed of the floor")
    # Two cores that share the work evenly, against one core that reads.
    print(f"  CPU alone  {2 * best_cpu / inside_cpu:7.2f} of the speed of reading")
    print(f"  all        {ended - started:7.1f} s  {all_used - used:20.1f} s of CPU")
    if arguments.memory:
        peak = measuring.watch_memory(command(work, arguments, len(paths)))
        print(f"  memory     {peak.private / 1e6:7,.0f} MB private, all processes together")
    shutil.rmtree(work)


def command(work: Path, arguments: argparse.Namespace, slides: int) -> list[str]:
    """Return the command line of the same import."""
    table = work / "mpp.csv"
    rows = [f"s{number:04},0.25" for number in range(slides)]
    table.write_text("\n".join(["slide,mpp", *rows]) + "\n")
    words = ["import", str(work / "files"), "-o", str(work / "y.hx"), "--slide-mpp", str(table)]
    for name in ("structure", "distance"):
        if getattr(arguments, name):
            words += [f"--{name}", getattr(arguments, name)]
    return [sys.executable, "-m", "histo_index", *words]


if __name__ == "__main__":
    main()
