"""Memory of builds from 4, 16 and 64 small slides, each build in its own processes.

    python benchmarks/slide_memory.py --slides 4 16 64

A slide has 2,048 × 2,048 pixels of rendered tissue in JPEG tiles: 64 tiles of 256 pixels. The
decoder processes, which open the slides, are counted.
"""

import sys
import tempfile
from pathlib import Path
from typing import Final

import cv2
import measuring
import numpy as np
import tifffile
from memory import make_encoder

from histo_index.demo.tiles import render_tile

LIMIT: Final = 1.10
SIDE, BLOCK, MPP = 2_048, 256, 0.5
_KINDS: Final = ("stroma", "glands", "lymphocytes", "muscle")


def main() -> None:
    """Run the benchmark."""
    options = measuring.parser(__doc__ or "")
    options.add_argument("--slides", type=int, nargs="+", default=[4, 16, 64], help="of each build")
    options.add_argument("--arch", default="resnet18", help="architecture")
    options.add_argument("--crop-px", type=int, default=96, help="side of the network's input")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="histo-index-slides-") as name:
        folder = Path(name)
        make_encoder(folder / "encoder", arch=given.arch, crop_px=given.crop_px)
        peaks = {}
        for count in given.slides:
            slides = folder / f"{count}"
            write_slides(slides, count)
            measuring.tell(f"build over {count} slides")
            peaks[count] = watch_build(slides, folder / "encoder", folder / f"{count}.hx")
    measuring.print_machine()
    report(peaks)


def write_slides(folder: Path, count: int) -> None:
    """Write slides that differ in their first block, so that no two are equal."""
    folder.mkdir()
    blocks = [render_tile(kind, seed=seed, size_px=BLOCK) for seed in range(4) for kind in _KINDS]
    for number in range(count):
        dice = np.random.default_rng(number)
        rows = [
            np.concatenate([blocks[dice.integers(len(blocks))] for _ in range(SIDE // BLOCK)], 1)
            for _ in range(SIDE // BLOCK)
        ]
        plane = np.concatenate(rows)
        plane[0, number] ^= 1
        with tifffile.TiffWriter(folder / f"{number:03}.tiff") as writer:
            for level in (0, 1):
                pixels = cv2.resize(plane, None, fx=0.25, fy=0.25) if level else plane
                writer.write(
                    pixels, tile=(BLOCK, BLOCK), compression="jpeg", photometric="rgb",
                    subfiletype=level, metadata=None, resolutionunit="CENTIMETER",
                    resolution=(10_000 / MPP, 10_000 / MPP),
                )  # fmt: skip


def watch_build(slides: Path, encoder: Path, output: Path) -> measuring.Peak:
    """Build through the command line and watch it with its decoder processes."""
    return measuring.watch_memory([
        sys.executable, "-m", "histo_index", "build", str(slides), "-o", str(output),
        "--mpp", str(MPP), "--encoder", str(encoder), "--device", "cpu",
    ])  # fmt: skip


def report(peaks: dict[int, measuring.Peak]) -> None:
    """Print the peaks, and that of the most slides over that of the fewest."""
    rows = [
        (f"{count}", f"{peak.resident / 1e6:.0f}", f"{peak.private / 1e6:.0f}")
        for count, peak in peaks.items()
    ]
    few, many = peaks[min(peaks)], peaks[max(peaks)]
    ratios = (f"{many.resident / few.resident:.3f}", f"{many.private / few.private:.3f}")
    rows.append((f"ratio (limit {LIMIT:.2f})", *ratios))
    header = ("slides", "peak of all processes, MB", "of it in no file, MB")
    measuring.print_table(header, rows)


if __name__ == "__main__":
    main()
