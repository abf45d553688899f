"""Slides: tissue mask, block reading, and tiles per second from slide to embedding.

    python benchmarks/slides.py --tiles 160 --rounds 3

The slide has 40,000 × 30,000 pixels at 0.25 µm/px in JPEG tiles, levels 1, 4 and 16, written from
the demo renderer. Its tissue is known. Ways are timed in turn, and ratios are those of one run.
"""

import argparse
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, Final

import cv2
import imagecodecs
import measuring
import numpy as np
import numpy.typing as npt
import openslide
import tifffile
from PIL import Image

from histo_index.api.encoders import open_encoder
from histo_index.demo.tiles import render_tile
from histo_index.slides.reading.identity import SlideTile
from histo_index.slides.reading.openslide_reader import open_by_openslide
from histo_index.slides.reading.overview import read_overview
from histo_index.slides.reading.reader import SlideFile, open_slide
from histo_index.slides.reading.regions import read_tiles
from histo_index.slides.tiling.grid import lay_grid
from histo_index.slides.tiling.options import TileOptions
from histo_index.slides.tissue.mask import find_tissue

WIDTH, HEIGHT, BLOCK, MPP = 40_000, 30_000, 256, 0.25
KINDS: Final = ("stroma", "glands", "lymphocytes", "muscle")
GLASS: Final = (243, 242, 244)
MASK_MPP: Final = 8.0
WARMED: Final = "slide to embedding"


def plan_blocks() -> npt.NDArray[np.int64]:
    """Return which block lies where: 0 is glass; two round pieces of tissue."""
    rows, columns = -(-HEIGHT // BLOCK), -(-WIDTH // BLOCK)
    y, x = np.mgrid[:rows, :columns]
    is_tissue = np.zeros((rows, columns), bool)
    for centre_x, centre_y, radius in ((48, 58, 40), (115, 60, 30)):
        is_tissue |= (x - centre_x) ** 2 + (y - centre_y) ** 2 < radius**2
    kinds = np.random.default_rng(0).integers(1, 1 + 4 * len(KINDS), (rows, columns))
    return np.where(is_tissue, kinds, 0)


def write_slide(path: Path, plan: npt.NDArray[np.int64]) -> None:
    """Write the slide; equal tiles of level 0 are compressed once."""
    blocks = [np.full((BLOCK, BLOCK, 3), GLASS, np.uint8)]
    blocks += [render_tile(kind, seed=seed, size_px=BLOCK) for seed in range(4) for kind in KINDS]
    coded = [bytes(imagecodecs.jpeg_encode(block, level=85)) for block in blocks]
    quarter = np.stack(
        [cv2.resize(block, (64, 64), interpolation=cv2.INTER_AREA) for block in blocks]
    )
    rows, columns = plan.shape
    level = quarter[plan].swapaxes(1, 2).reshape(rows * 64, columns * 64, 3)
    level = np.ascontiguousarray(level[: HEIGHT // 4, : WIDTH // 4])
    small = cv2.resize(level, (WIDTH // 16, HEIGHT // 16), interpolation=cv2.INTER_AREA)
    shared: dict[str, Any] = {"tile": (BLOCK, BLOCK), "photometric": "rgb", "metadata": None}
    scale: dict[str, Any] = {
        "resolution": (10_000 / MPP, 10_000 / MPP),
        "resolutionunit": "CENTIMETER",
    }
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        writer.write(
            (coded[number] for number in plan.ravel()), shape=(HEIGHT, WIDTH, 3), dtype=np.uint8,
            compression="jpeg", **shared, **scale,
        )  # fmt: skip
        for pixels in (level, small):
            writer.write(pixels, compression="jpeg", subfiletype=1, **shared, **scale)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What an item takes: milliseconds on the clock, and of all cores together."""

    wall: float
    cpu: float


def time_in_turn(
    ways: dict[str, Callable[[], Iterable[object]]], rounds: int, *, warm: int = 0
) -> dict[str, Cost]:
    """Return what an item takes each way, the median of rounds that take turns.

    Args:
        ways: name to what yields items.
        rounds: how often each is run.
        warm: items of a whole build that are not timed: processes start, and OpenSlide draws the
            first of a slide.
    """
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            started, used = time.perf_counter(), measuring.cpu_seconds()
            items = iter(way())
            if name == WARMED:
                deque(islice(items, warm), maxlen=0)
                started, used = time.perf_counter(), measuring.cpu_seconds()
            count = sum(1 for _ in items)
            wall, cpu = time.perf_counter() - started, measuring.cpu_seconds() - used
            found[name].append((1e3 * wall / count, 1e3 * cpu / count))
    return {
        name: Cost(wall=median(w for w, _ in both), cpu=median(c for _, c in both))
        for name, both in found.items()
    }


def read_alone(path: Path, tiles: list[SlideTile], mpp: float) -> Iterator[npt.NDArray[np.uint8]]:
    """Read each tile by OpenSlide as most programs do: one region, then one resize."""
    with openslide.OpenSlide(path) as slide:
        side = round(tiles[0].size * tiles[0].mpp / mpp)
        for tile in tiles:
            region = slide.read_region((tile.x, tile.y), 0, (side, side)).convert("RGB")
            size = (tile.size, tile.size)
            yield np.asarray(region.resize(size, Image.Resampling.BILINEAR))


def read_regions(path: Path, tiles: list[SlideTile]) -> Iterator[object]:
    """Read the region of each tile by OpenSlide and do nothing with it."""
    side = round(tiles[0].size * tiles[0].mpp / MPP)
    with openslide.OpenSlide(path) as slide:
        for tile in tiles:
            yield slide.read_region((tile.x, tile.y), 0, (side, side))


def measure_mask(path: Path, plan: npt.NDArray[np.int64]) -> None:
    """Print the CPU time of overview and mask, and how well the mask fits."""
    with closing(open_slide(SlideFile.of(path))) as slide:
        started = time.process_time()
        picture = read_overview(slide, MASK_MPP)
        read_s = time.process_time() - started
        mask = find_tissue(picture, MASK_MPP).tissue
        all_s = time.process_time() - started
    side = round(BLOCK * MPP / MASK_MPP)
    truth = np.kron(plan > 0, np.ones((side, side), bool))[: mask.shape[0], : mask.shape[1]]
    iou = (mask & truth).sum() / (mask | truth).sum()
    print(f"tissue mask: {all_s:.2f} CPU s ({read_s:.2f} of it reading), IoU {iou:.3f}")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiles", type=int, default=320)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        path, plan = Path(name) / "slide.tiff", plan_blocks()
        write_slide(path, plan)
        measure_mask(path, plan)
        for mpp in (0.25, 0.5):
            measure_rates(path, mpp, options.tiles, options.rounds)


def measure_rates(path: Path, mpp: float, count: int, rounds: int) -> None:
    """Print reading and encoding rates at one scale."""
    with closing(open_slide(SlideFile.of(path))) as slide:
        grid = lay_grid(slide.info, TileOptions(mpp=mpp))
        middle = np.flatnonzero((grid.x > 8_000) & (grid.x < 20_000) & (grid.y > 10_000))[:count]
        tiles = [
            SlideTile(slide=str(path), x=int(grid.x[n]), y=int(grid.y[n]), mpp=mpp, size=256)
            for n in middle
        ]
        # A slide is opened again in each round: a cache would help the second way.
        blocks = [tiles[start : start + 8] for start in range(0, len(tiles), 8)]

        def by_blocks() -> Iterator[object]:
            file = SlideFile.of(path)
            opened = open_by_openslide(path, file, drawn_px=0)
            assert opened is not None
            with closing(opened) as fresh:
                for block in blocks:
                    yield from read_tiles(fresh, block)

        reading = time_in_turn(
            {
                "OpenSlide alone": lambda: read_regions(path, tiles),
                "alone": lambda: read_alone(path, tiles, MPP),
                "blocks": by_blocks,
            },
            rounds,
        )
        pixels = [tile for tile in read_tiles(slide, tiles) if isinstance(tile, np.ndarray)]
    encoder = open_encoder(device="cpu")
    encoder.encode_pixels(pixels[:16])
    paths = [Path(str(tile)) for tile in tiles]
    encoding = time_in_turn(
        {
            "network alone": lambda: encoder.encode_pixels(pixels),
            WARMED: lambda: encoder.encode_files(paths + paths),
            "each read alone, then encoded": lambda: encoder.encode_pixels(
                list(read_alone(path, tiles, MPP))
            ),
        },
        rounds,
        warm=len(paths),
    )
    print(f"{mpp:g} µm/px, {len(tiles)} tiles; tiles/s, and ms of CPU for a tile:")
    costs = {**{f"read: {name}": cost for name, cost in reading.items()}, **encoding}
    for title, cost in costs.items():
        print(f"  {title:<32} {1e3 / cost.wall:8.1f} {cost.cpu:8.2f}")
    whole, network = encoding[WARMED], encoding["network alone"]
    alone = encoding["each read alone, then encoded"]
    floor = network.cpu + reading["OpenSlide alone"].cpu
    print("ratios of rates, and of CPU:")
    for title, above, below in (
        ("blocks over alone", reading["alone"], reading["blocks"]),
        ("slide to embedding over alone", alone, whole),
        ("slide to embedding over network", network, whole),
    ):
        print(f"  {title:<32} {above.wall / below.wall:8.2f} {above.cpu / below.cpu:8.2f}")
    print(f"  {'with OpenSlide alone, at best':<32} {'':8} {network.cpu / floor:8.2f}")


if __name__ == "__main__":
    main()
