"""Slides: tissue mask, block reading, and tiles per second from slide to embedding.

    python benchmarks/slides.py --tiles 160 --rounds 3

The slide has 40,000 × 30,000 pixels at 0.25 µm/px in JPEG tiles, levels 1, 4 and 16, written from
the demo renderer. Its tissue is known. Ways are timed in turn, and ratios are those of one run.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any, Final

import cv2
import imagecodecs
import numpy as np
import numpy.typing as npt
import openslide
import tifffile
from PIL import Image

from histo_index.api.encoders import open_encoder
from histo_index.demo.tiles import render_tile
from histo_index.slides.reading.identity import SlideTile
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


def time_in_turn(ways: dict[str, Callable[[], int]], rounds: int) -> dict[str, float]:
    """Return items per second of each way, the median of rounds that take turns."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            started = time.perf_counter()
            count = way()
            rates[name].append(count / (time.perf_counter() - started))
    return {name: median(found) for name, found in rates.items()}


def read_alone(path: Path, tiles: list[SlideTile], mpp: float) -> Iterator[npt.NDArray[np.uint8]]:
    """Read each tile by OpenSlide as most programs do: one region, then one resize."""
    with openslide.OpenSlide(path) as slide:
        side = round(tiles[0].size * tiles[0].mpp / mpp)
        for tile in tiles:
            region = slide.read_region((tile.x, tile.y), 0, (side, side)).convert("RGB")
            size = (tile.size, tile.size)
            yield np.asarray(region.resize(size, Image.Resampling.BILINEAR))


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
    parser.add_argument("--tiles", type=int, default=160)
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

        def by_blocks() -> int:
            with closing(open_slide(SlideFile.of(path))) as fresh:
                return sum(len(read_tiles(fresh, block)) for block in blocks)

        reading = time_in_turn(
            {"alone": lambda: sum(1 for _ in read_alone(path, tiles, MPP)), "blocks": by_blocks},
            rounds,
        )
        pixels = [tile for tile in read_tiles(slide, tiles) if isinstance(tile, np.ndarray)]
    encoder = open_encoder(device="cpu")
    encoder.encode_pixels(pixels[:16])
    paths = [Path(str(tile)) for tile in tiles]
    encoding = time_in_turn(
        {
            "network alone": lambda: len(encoder.encode_pixels(pixels)),
            "slide to embedding": lambda: sum(1 for _ in encoder.encode_files(paths)),
            "each read alone, then encoded": lambda: len(
                encoder.encode_pixels(list(read_alone(path, tiles, MPP)))
            ),
        },
        rounds,
    )
    print(f"{mpp:g} µm/px, {len(tiles)} tiles; tiles/s:")
    for title, rate in {**{f"read: {n}": r for n, r in reading.items()}, **encoding}.items():
        print(f"  {title:<32} {rate:8.1f}")
    print(f"  blocks over alone                {reading['blocks'] / reading['alone']:8.2f}")
    whole, alone = encoding["slide to embedding"], encoding["each read alone, then encoded"]
    print(f"  slide to embedding over alone    {whole / alone:8.2f}")
    print(f"  slide to embedding over network  {whole / encoding['network alone']:8.2f}")


if __name__ == "__main__":
    main()
