"""Separation of near-duplicates from different tiles, by the limit of the index.

Held-out training tiles and an evaluation set, at most two hundred of each, spread over the groups;
by plain distances, and by those fitted on these tiles.
"""

import csv
import io
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import measuring
import numpy as np
import numpy.typing as npt
import training_split
from PIL import Image

from histo_index.arrays import Float16, Int64
from histo_index.encoder.decode.image_file import DecodeLimits, Pixels, read_tile
from histo_index.encoder.encoder import open_encoder
from histo_index.encoder.folder import bundled_encoder
from histo_index.indexer.transform.diffusion import fit_diffusion
from histo_index.search.distance import pair_distances
from histo_index.search.neighbours.near_duplicates import NEAR

_MOST_TILES: Final = 200


def as_jpeg(quality: int) -> Callable[[Pixels], Pixels]:
    def change(pixels: Pixels) -> Pixels:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=quality)
        return np.asarray(Image.open(file).convert("RGB"))

    return change


def scaled(share: float) -> Callable[[Pixels], Pixels]:
    def change(pixels: Pixels) -> Pixels:
        height, width = pixels.shape[:2]
        size = int(share * width), int(share * height)
        return np.asarray(Image.fromarray(pixels).resize(size))

    return change


COPIES: Final[dict[str, Callable[[Pixels], Pixels]]] = {
    "JPEG, quality 90": as_jpeg(90),
    "JPEG, quality 75": as_jpeg(75),
    "a row of pixels less": lambda pixels: pixels[1:],
    "nine tenths the size": scaled(0.9),
    "half the size": scaled(0.5),
}


def main() -> None:
    options = measuring.parser(__doc__)
    options.add_argument("--encoder", type=Path, help="left out, the bundled one")
    given = options.parse_args()
    encoder = open_encoder(given.encoder or bundled_encoder(), device="cpu")
    lines = []
    for name, tiles, groups in galleries():
        plain = encoder.encode_pixels(tiles).astype(np.float16)
        copies = [encode(encoder.encode_pixels, tiles, make) for make in COPIES.values()]
        lines.append((f"{name}, plain", str(len(tiles)), *told(groups, plain, copies)))
        transform = fit_diffusion(plain)
        turned = [transform.apply(each).astype(np.float16) for each in (plain, *copies)]
        lines.append((f"{name}, diffused", str(len(tiles)), *told(groups, turned[0], turned[1:])))
    header = ("set", "tiles", "limit", "different tiles mistaken", *COPIES)
    measuring.print_table(header, lines)


def told(groups: Int64, vectors: Float16, copies: list[Float16]) -> tuple[str, ...]:
    """Give the limit, how many different tiles lie within it, and the share of each copy."""
    pairs = np.stack(np.triu_indices(len(vectors), 1))
    distances = pair_distances(vectors[pairs[0]], vectors[pairs[1]])
    limit = NEAR * float(np.median(distances))
    is_across = groups[pairs[0]] != groups[pairs[1]]
    mistaken = int((distances[is_across] <= limit).sum())
    shares = [(pair_distances(vectors, each) <= limit).mean() for each in copies]
    counts = f"{mistaken} of {int(is_across.sum()):,}"
    return f"{limit:.4f}", counts, *(f"{share:.0%}" for share in shares)


def encode(
    encode_pixels: Callable[[list[Pixels]], npt.NDArray[np.float32]],
    tiles: list[Pixels],
    make: Callable[[Pixels], Pixels],
) -> npt.NDArray[np.float16]:
    return encode_pixels([make(tile) for tile in tiles]).astype(np.float16)


def galleries() -> Iterator[tuple[str, list[Pixels], npt.NDArray[np.int64]]]:
    """Give two sets: a name, tiles, and the group of each."""
    rows = [(row["path"], row["group"]) for row in training_split.split()[1]]
    yield "held-out training groups", *read(training_split.DATA, rows)
    folder = training_split.DATA / "eval" / "kather2016"
    with (folder / "labels.csv").open(newline="") as file:
        rows = [(row["path"], row["group"]) for row in csv.DictReader(file)]
    yield "kather2016", *read(folder, rows)


def read(folder: Path, rows: list[tuple[str, str]]) -> tuple[list[Pixels], npt.NDArray[np.int64]]:
    """Read tiles, the first of each group, then the second of each, and so on."""
    of_group: dict[str, int] = defaultdict(int)
    turns = []
    for _, group in rows:
        turns.append(of_group[group])
        of_group[group] += 1
    chosen = [rows[position] for position in np.argsort(turns, kind="stable")[:_MOST_TILES]]
    groups = np.unique([group for _, group in chosen], return_inverse=True)[1]
    return [read_tile(folder / path, DecodeLimits()).pixels for path, _ in chosen], groups


if __name__ == "__main__":
    main()
