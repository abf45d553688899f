"""What a build costs beside the network: CPU milliseconds a tile, by part.

CPU time and not wall time, so that a busy machine disturbs little; pinned to one core (`taskset -c
1`) least. With all cores busy, a build cannot reach more of the network's own images/s than the
network's share of the CPU time: that share is the figure to raise.
"""

import pickle
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import measuring
import numpy as np
import psutil  # type: ignore[import-untyped]
from PIL import Image

import histo_index
from histo_index.demo.tiles import CATEGORIES, render_tile
from histo_index.encoder.create import init_encoder
from histo_index.encoder.decode.image_file import DecodeLimits
from histo_index.encoder.decode.worker import DecodeSettings, PreparedTile, prepare
from histo_index.encoder.encoder import open_encoder
from histo_index.encoder.folder import bundled_encoder, load_encoder
from histo_index.indexer.build_config import BuildProgress
from histo_index.indexer.hashing.files import hash_file

FORMATS: Final = ("png", "jpg")
NETWORK: Final = "the network"
HASH: Final = "hash, for the plan"
WHOLE: Final = "**a build**"
# Quality of a JPEG from a scanner, as OpenSlide's test data have it.
_QUALITY: Final = 90
# Tiles of one measurement of a part: some tenths of a second.
_SAMPLE: Final = 64
# Tiles of a shard, and those encoded before counting: runtime and decoders have started.
_WARM: Final = 64


def main() -> None:
    options = measuring.parser(__doc__)
    options.add_argument("--tiles", type=int, default=512, help="256-px tiles of each format")
    options.add_argument("--repeats", type=int, default=3, help="runs of each")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="histo-index-parts-") as name:
        folder = Path(name)
        measuring.tell("writing tiles, making an encoder")
        for suffix in FORMATS:
            write_copies(folder / suffix, suffix, count=given.tiles)
        init_encoder(folder / "untrained", arch="resnext50_32x4d", seed=0)
        encoders = {"bundled": bundled_encoder(), "untrained": folder / "untrained"}
        table = {
            f"{suffix}, {name}, {input_px(encoder)} px": measure(
                folder, encoder, suffix, repeats=given.repeats
            )
            for name, encoder in encoders.items()
            for suffix in FORMATS
        }
    measuring.print_machine()
    report(table)


def input_px(encoder: Path) -> int:
    return load_encoder(encoder).config.preprocessing.crop_px


def write_copies(folder: Path, suffix: str, *, count: int) -> None:
    """Write tiles of differing content; a turned one costs a decoder as much as another."""
    folder.mkdir()
    for number in range(count):
        if number % 8 == 0:
            kind = CATEGORIES[number // 8 % len(CATEGORIES)]
            tile = render_tile(kind, seed=number // 8)
        turned = np.rot90(tile[:: 1 if number % 2 else -1], number % 8 // 2)
        image = Image.fromarray(np.ascontiguousarray(turned))
        image.save(folder / f"{number:06d}.{suffix}", quality=_QUALITY)


def measure(folder: Path, encoder: Path, suffix: str, *, repeats: int) -> dict[str, list[float]]:
    """Measure every part, and whole builds, in turn: CPU ms a tile."""
    paths = sorted((folder / suffix).iterdir())
    parts = parts_of(encoder, paths[:_SAMPLE])
    found: dict[str, list[float]] = {name: [] for name in (*parts, WHOLE)}
    for _ in range(repeats):
        for name, part in parts.items():
            before = time.process_time()
            part()
            found[name].append(1000 * (time.process_time() - before) / _SAMPLE)
        found[WHOLE].append(found[HASH][-1] + build_cost(folder, encoder, paths))
        measuring.tell(f"{encoder.name}, {suffix}: {found[WHOLE][-1]:.2f} ms a tile")
    return found


def parts_of(encoder: Path, paths: Sequence[Path]) -> dict[str, Callable[[], Any]]:
    """Name the parts that can be run alone; together they are what a tile cannot do without."""
    runner = open_encoder(encoder, device="cpu")
    spec, runtime = runner.config.preprocessing, runner.runtime
    settings = DecodeSettings(limits=DecodeLimits(), preprocessing=spec)
    ready = [prepare(path, settings) for path in paths]
    pixels = np.stack([tile.pixels for tile in ready if isinstance(tile, PreparedTile)])
    batches = np.split(pixels, range(runtime.batch, len(pixels), runtime.batch))
    for batch in batches:
        runtime.embed(batch)
    return {
        NETWORK: lambda: [runtime.embed(batch) for batch in batches],
        HASH: lambda: [hash_file(path) for path in paths],
        "read, hash again, decode, resize": lambda: [prepare(path, settings) for path in paths],
        "pickle and back": lambda: [pickle.loads(pickle.dumps(tile, protocol=5)) for tile in ready],
    }


def build_cost(folder: Path, encoder: Path, paths: Sequence[Path]) -> float:
    """Build, and count the CPU time between two tiles under way, so without start and commit."""
    last = len(paths) - _WARM
    seen: dict[int, float] = {}

    def look(state: BuildProgress) -> None:
        # As many tiles are decoded ahead at the end as were at the beginning.
        if state.stage == "encoding" and state.done in (_WARM, last):
            seen[state.done] = _cpu_seconds()

    with tempfile.TemporaryDirectory(dir=folder) as name:
        index = Path(name) / "tiles.hx"
        report = histo_index.build(
            paths, index, encoder=encoder, device="cpu", shard_rows=_WARM, progress=look
        )
    assert report.encoded == len(paths)
    return 1000 * (seen[last] - seen[_WARM]) / (last - _WARM)


def _cpu_seconds() -> float:
    """CPU time of this process and of its children."""
    me = psutil.Process()
    times = [process.cpu_times() for process in (me, *me.children())]
    return float(sum(used.user + used.system for used in times))


def report(table: dict[str, dict[str, list[float]]]) -> None:
    for cells in table.values():
        parts = [values for name, values in cells.items() if name != WHOLE]
        sums = [sum(found) for found in zip(*parts, strict=True)]
        rest = [whole - known for whole, known in zip(cells[WHOLE], sums, strict=True)]
        cells["pipes, shards, everything else"] = rest
        cells[WHOLE] = cells.pop(WHOLE)
        shares = measuring.ratios(cells[NETWORK], cells[WHOLE])
        cells["the network's share of a build, %"] = [100 * share for share in shares]
    rows = [
        (name, *(measuring.spread(cells[name], digits=2) for cells in table.values()))
        for name in next(iter(table.values()))
    ]
    measuring.print_table(("CPU ms a 256-px tile", *table), rows)


if __name__ == "__main__":
    main()
