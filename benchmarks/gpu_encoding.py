"""Encoding on a GPU: from files, from memory, and the network alone.

What a GPU waits for data is what files and memory leave of the network's own rate. `--device cpu`
runs the same without a GPU, to see that it works.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import measuring
import numpy as np
import torch
from PIL import Image

from histo_index.arrays import Pixels
from histo_index.demo.tiles import CATEGORIES, render_tile
from histo_index.encoder.create import init_encoder
from histo_index.encoder.encoder import Encoder, open_encoder
from histo_index.encoder.runtime.cuda import CudaRuntime
from histo_index.errors import ImageError

_ARCHITECTURES: Final = ("resnext50_32x4d", "resnext101_32x8d")
_RENDERED: Final = 32
_STEPS: Final = 10


def main() -> None:
    options = measuring.parser(__doc__)
    options.add_argument("--tiles", type=int, default=20_000, help="JPEG files of 256 px")
    options.add_argument("--repeats", type=int, default=3, help="runs of each")
    options.add_argument("--arch", nargs="*", default=_ARCHITECTURES)
    options.add_argument("--device", default="cuda" if torch.cuda.is_available() else None)
    given = options.parse_args()
    if given.device is None:
        options.error("no CUDA device here; --device cpu shows that the code works")
    with tempfile.TemporaryDirectory(prefix="histo-index-gpu-") as name:
        folder = Path(name)
        pixels = [render_tile(CATEGORIES[n % len(CATEGORIES)], seed=n) for n in range(_RENDERED)]
        paths = write_copies(folder, pixels, count=given.tiles)
        measuring.print_machine()
        for arch in given.arch:
            init_encoder(folder / arch, arch=arch, seed=0)
            encoder = open_encoder(folder / arch, device=given.device)
            report(arch, encoder, paths, pixels, repeats=given.repeats)


def write_copies(folder: Path, pixels: Sequence[Pixels], *, count: int) -> list[Path]:
    """Write a few pictures over and over, no two files with the same bytes."""
    paths = [folder / f"{number:06d}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        picture = Image.fromarray(pixels[number % len(pixels)])
        picture.save(path, quality=90, comment=str(number).encode())
    return paths


def report(
    arch: str, encoder: Encoder, paths: Sequence[Path], pixels: Sequence[Pixels], *, repeats: int
) -> None:
    runtime, crop = encoder.runtime, encoder.config.preprocessing.crop_px
    batch = np.random.default_rng(0).integers(
        256, size=(runtime.batch, crop, crop, 3), dtype=np.uint8
    )
    in_memory = [pixels[number % len(pixels)] for number in range(len(paths))]
    jobs: dict[str, measuring.Job] = {
        "files": lambda: _count(encoder.encode_files(paths)),
        "memory, decoded": lambda: len(encoder.encode_pixels(in_memory)),
        "memory, in batches": lambda: sum(len(runtime.embed(batch)) for _ in range(_STEPS)),
    }
    if isinstance(runtime, CudaRuntime):
        jobs["the network alone"] = _network_job(runtime, torch.from_numpy(batch).cuda())
    for job in jobs.values():
        job()
    rates = measuring.interleave(jobs, repeats=repeats)
    best = rates[list(jobs)[-1]]
    print(f"\n{arch}, {crop} px, {runtime.name}, {runtime.precision}, {len(paths):,} files\n")
    rows = []
    for name, found in rates.items():
        waits = [100 * (1 - ratio) for ratio in measuring.ratios(found, best)]
        rows.append((name, measuring.spread(found, digits=0), f"{measuring.spread(waits)} %"))
    measuring.print_table(("from", "images/s", "the network waits"), rows)


def _count(results: Any) -> int:
    found = list(results)
    assert not any(isinstance(tile, ImageError) for tile in found)
    return len(found)


def _network_job(runtime: CudaRuntime, batch: torch.Tensor) -> Callable[[], int]:
    @torch.inference_mode()
    def job() -> int:
        for _ in range(_STEPS):
            runtime._trunk(batch)
        torch.cuda.synchronize()
        return _STEPS * len(batch)

    return job


if __name__ == "__main__":
    main()
