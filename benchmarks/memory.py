"""Memory of a build over 1,000 and over 10,000 tiles, each in a new process."""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import measuring
import numpy as np
from PIL import Image

from histo_index.demo.tiles import CATEGORIES, write_tiles

LIMIT: Final = 1.20

# In a new process, because torch would stay in this one.
_MAKE_ENCODER: Final = """
import sys
from pathlib import Path
from histo_index.encoder.config import EncoderConfig
from histo_index.encoder.folder import save_encoder
from histo_index.encoder.decode.preprocessing import Preprocessing
from histo_index.encoder.runtime.untrained import random_weights
folder, arch, crop_px = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
spec = Preprocessing(resize_px=crop_px, crop_px=crop_px)
config = EncoderConfig(
    architecture=arch, preprocessing=spec
)
save_encoder(folder, config, random_weights(arch, seed=0))
"""


def main() -> None:
    options = measuring.parser(__doc__)
    options.add_argument("--tiles", type=int, default=1000, help="of the small build, about")
    options.add_argument("--copies", type=int, default=10, help="the large build has times this")
    options.add_argument("--tile-px", type=int, default=96, help="side of a tile")
    options.add_argument("--crop-px", type=int, default=96, help="side of the network's input")
    options.add_argument("--arch", default="resnext50_32x4d", help="architecture")
    options.add_argument("--repeats", type=int, default=2, help="builds of each size")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="histo-index-memory-") as name:
        folder = Path(name)
        measuring.tell("rendering tiles, making an encoder")
        small = folder / "small"
        per_category = max(1, given.tiles // len(CATEGORIES))
        write_tiles(small, tiles_per_category=per_category, size_px=given.tile_px)
        large = perturb(small, folder / "large", copies=given.copies)
        make_encoder(folder / "encoder", arch=given.arch, crop_px=given.crop_px)
        peaks: dict[Path, list[measuring.Peak]] = {small: [], large: []}
        for repeat in range(given.repeats):
            for tiles, found in peaks.items():
                measuring.tell(f"repeat {repeat + 1}: build over {tiles.name}")
                output = folder / f"{tiles.name}-{repeat}.hx"
                found.append(watch_build(tiles, folder / "encoder", output))
        counts = {tiles: sum(1 for _ in tiles.rglob("*.png")) for tiles in peaks}
    measuring.print_machine()
    report({counts[tiles]: found for tiles, found in peaks.items()})


def perturb(source: Path, target: Path, *, copies: int) -> Path:
    """Copy each tile some times, another pixel changed in each, so that no two files are equal."""
    for path in sorted(source.rglob("*.png")):
        pixels = np.array(Image.open(path))
        folder = target / path.relative_to(source).parent
        folder.mkdir(parents=True, exist_ok=True)
        for copy in range(copies):
            pixels[0, copy] ^= 1
            Image.fromarray(pixels).save(folder / f"{path.stem}-{copy}.png", compress_level=1)
    return target


def make_encoder(folder: Path, *, arch: str, crop_px: int) -> None:
    subprocess.run([sys.executable, "-c", _MAKE_ENCODER, folder, arch, str(crop_px)], check=True)


def watch_build(tiles: Path, encoder: Path, output: Path) -> measuring.Peak:
    """Build through the command line and watch it with its decoder processes."""
    program = [sys.executable, "-m", "histo_index", "build", str(tiles), "-o", str(output)]
    return measuring.watch_memory([*program, "--encoder", str(encoder), "--device", "cpu"])


def report(peaks: dict[int, list[measuring.Peak]]) -> None:
    rows = []
    for count, found in peaks.items():
        resident = [peak.resident / 1e6 for peak in found]
        private = [peak.private / 1e6 for peak in found]
        cells = (measuring.spread(values, digits=0) for values in (resident, private))
        rows.append((f"{count:,}", *cells))
    few, many = peaks.values()
    growth = (
        measuring.spread(measuring.ratios(*values), digits=3)
        for values in (
            ([peak.resident for peak in many], [peak.resident for peak in few]),
            ([peak.private for peak in many], [peak.private for peak in few]),
        )
    )
    rows.append((f"ratio (limit {LIMIT:.2f})", *growth))
    header = ("tiles", "peak of all processes, MB", "of it in no file, MB")
    measuring.print_table(header, rows)


if __name__ == "__main__":
    main()
