"""One tile added to a large index: what finding it costs beside `--rehash`, which reads all tiles,
and the commit beside `reindex`, which computes everything again.

Embeddings are drawn around centres, so that encoding costs nothing; tiles are files as large as
JPEGs, in the page cache: on a network folder reading them costs more.
"""

import tempfile
import time
from argparse import Namespace
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Final

import measuring
import numpy as np
from clustered import Clusters

from histo_index.indexer.build import build
from histo_index.indexer.build_config import BuildConfig, BuildProgress
from histo_index.indexer.format.manifest import read_manifest
from histo_index.indexer.format.records import SearchConfig
from histo_index.indexer.hashing.files import hash_file
from histo_index.indexer.writing.commit import reindex

_CLUSTERS: Final = 1000
_SPREAD: Final = 0.35
# Vectors drawn at a time.
_DRAWN: Final = 64


class ClusteredEncoder(measuring.SyntheticEncoder):
    """Draws embeddings around centres instead of computing them."""

    def __init__(self, folder: Path, *, size: int) -> None:
        super().__init__(folder, size=size)
        folder.mkdir(parents=True, exist_ok=True)
        self._clusters = Clusters(count=_CLUSTERS, size=size, spread=_SPREAD)
        self._drawn = 0

    def encode_files(self, paths: Iterable[Path]) -> Iterator[measuring.SyntheticTile]:
        for number, path in enumerate(paths):
            if number % _DRAWN == 0:
                self._drawn += 1
                vectors = self._clusters.draw(_DRAWN, seed=self._drawn).astype(np.float32)
            yield measuring.SyntheticTile(
                embedding=vectors[number % _DRAWN], sha256=hash_file(path)
            )


class Watch:
    """Seconds by the clock and of processors, at the start and from the commit on."""

    def __init__(self) -> None:
        self._marks = [(time.perf_counter(), time.process_time())]

    def progress(self, state: BuildProgress) -> None:
        if state.stage == "committing":
            self.mark()

    def mark(self) -> None:
        self._marks.append((time.perf_counter(), time.process_time()))

    def spans(self) -> list[tuple[float, float]]:
        """Give wall and processor seconds between marks."""
        self.mark()
        pairs = zip(self._marks, self._marks[1:], strict=False)
        return [(after[0] - before[0], after[1] - before[1]) for before, after in pairs]


def main() -> None:
    options = measuring.parser(__doc__)
    options.add_argument("--rows", type=int, default=100_000, help="N")
    options.add_argument("--size", type=int, default=2048, help="D")
    options.add_argument("--tile-bytes", type=int, default=20_000, help="size of a tile's file")
    options.add_argument("--repeats", type=int, default=3, help="tiles added, one build each")
    options.add_argument("--structure", nargs="*", default=["exact", "chosen"], help="to search by")
    options.add_argument("--distance", nargs="*", default=["plain", "diffused"], help="kinds")
    options.add_argument("--folder", type=Path, help="keep tiles and index here, or use them")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="histo-index-adding-") as name:
        folder = given.folder or Path(name)
        encoder = ClusteredEncoder(folder / "encoder", size=given.size)
        make_tiles(folder, rows=given.rows, size=given.tile_bytes)
        measuring.print_machine()
        cells = [
            measure(folder, encoder, structure, distance, given)
            for distance in given.distance
            for structure in given.structure
        ]
    tiles = f"{given.rows:,} tiles of {given.tile_bytes:,} bytes"
    print(f"{tiles}, {given.size} numbers each; processor seconds\n")
    header = (
        "distance, structure",
        "one more: list, hash, plan",
        "with `--rehash`",
        "its commit",
        "`reindex`",
        "ratio",
    )
    measuring.print_table(header, cells)


def make_tiles(folder: Path, *, rows: int, size: int) -> None:
    """Write tile files, a thousand to a folder, and wait until they count as settled."""
    measuring.tell(f"writing {rows:,} tiles")
    for row in range(rows):
        add_tile(folder, row, size=size)
    time.sleep(5)


def add_tile(folder: Path, row: int, *, size: int, slide: int | None = None) -> None:
    number = row // 1000 if slide is None else slide
    path = folder / "tiles" / f"slide-{number:05d}" / measuring.tile_name(row)
    if row % 1000 == 0:
        path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_text(str(row).ljust(size))


def measure(
    folder: Path, encoder: ClusteredEncoder, structure: str, distance: str, given: Namespace
) -> tuple[str, ...]:
    """Add a tile, compute everything again, and so on in turn; return a row of the table."""
    index = folder / "tiles.hx"
    search = SearchConfig(structure=None if structure == "chosen" else structure)
    config = BuildConfig(sources=[folder / "tiles"], output=index, search=search, distance=distance)
    measuring.tell(f"{distance}, {structure}: building")
    build(config, encoder)
    finding, reading, adding, again = [], [], [], []
    for repeat in range(given.repeats):
        tiles = read_manifest(index).tiles
        # In turn after all others and among them.
        add_tile(folder, tiles, size=given.tile_bytes, slide=0 if repeat % 2 else None)
        watch = Watch()
        assert build(config, encoder, watch.progress).tiles == tiles + 1
        before, commit = watch.spans()
        watch = Watch()
        build(replace(config, rehash=True), encoder, watch.progress)
        reading.append(watch.spans()[0])
        watch = Watch()
        reindex(index)
        finding.append(before)
        adding.append(commit)
        again += watch.spans()
        measuring.tell(
            f"{distance}, {structure}: found {before}, added {commit}, again {again[-1]}"
        )
    shares = measuring.ratios([cpu for _, cpu in adding], [cpu for _, cpu in again])
    structure_made = read_manifest(index).structure
    factory = structure_made.factory if structure_made else "exact"
    cells = (_cell(spans) for spans in (finding, reading, adding, again))
    return f"{distance}, {factory}", *cells, measuring.spread(shares, digits=3)


def _cell(spans: list[tuple[float, float]]) -> str:
    wall, cpu = zip(*spans, strict=True)
    return f"{measuring.spread(cpu, digits=2)}, {median(wall):.1f} by the clock"


if __name__ == "__main__":
    main()
