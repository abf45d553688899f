"""How many of the nearest tiles must be compared on pixels to find copies? Training tiles only.

Run by `copies.py choose`.
"""

import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import measuring
import numpy as np
from copy_tiles import COPIES, plant, training_fields, training_tiles

from histo_index.api.index import Index
from histo_index.api.tile_files import tile_files
from histo_index.arrays import Int64
from histo_index.indexer.embeddings import read_embeddings
from histo_index.search.copies.candidates import find_candidates
from histo_index.search.copies.copies import find_copies
from histo_index.search.copies.limits import copy_limits, median_distance
from histo_index.search.copies.pixels import Thumbnail
from histo_index.search.copies.tile_files import TileFiles
from histo_index.search.distance import pair_distances

# A copy whose edges are cut off is not found on pixels at all.
KINDS: Final = tuple(COPIES)[:-1]
_NEIGHBOURS: Final = (1, 2, 4, 8, 16, 32)


class Planted:
    """Planted training tiles and training fields in one index.

    Attributes:
        index: of them.
        sources: source of each tile, [N].
        kinds: `original`, `copy-0` and so on, or `field`, [N].
        stems: name of each without suffix, [N].
    """

    def __init__(self, index: Index) -> None:
        self.index = index
        parts = [path.split("/") for path in index.opened.rows["path"].to_pylist()]
        self.sources = np.array([part[1] if part[0] == "planted" else "" for part in parts])
        self.kinds = np.array([part[2] if part[0] == "planted" else "field" for part in parts])
        self.stems = np.array([Path(part[-1]).stem for part in parts])
        self.fields = np.flatnonzero(self.kinds == "field")

    def pairs(self, kind: int) -> tuple[Int64, Int64]:
        """Return the rows of the originals, and of their copies of a kind."""
        originals = np.flatnonzero(self.kinds == "original")
        copies = np.flatnonzero(self.kinds == f"copy-{kind}")
        order = {stem: row for row, stem in zip(copies, self.stems[copies], strict=True)}
        return originals, np.array([order[stem] for stem in self.stems[originals]])


def prepare(folder: Path) -> None:
    """Plant training tiles and copy training fields."""
    plant(folder / "planted", training_tiles())
    (folder / "fields").mkdir()
    for file in training_fields():
        shutil.copy(file, folder / "fields" / file.name)


def choose(index: Index) -> None:
    """Print how far copies lie from their originals, and what each number of neighbours finds."""
    planted = Planted(index)
    print("\nDistance of a copy as a share of the median distance within its source: half, most.\n")
    measuring.print_table(("source", "tiles", "median", *KINDS), distance_lines(planted))
    print("\nShare of copies found among all fields by the number of nearest tiles compared.\n")
    header = (
        "nearest", *KINDS, f"{KINDS[0]}, worst source", "pairs a field", "CPU s", "wrong",
    )  # fmt: skip
    measuring.print_table(header, found_lines(planted))


def distance_lines(planted: Planted) -> Iterator[tuple[str, ...]]:
    for source in sorted({*planted.sources} - {""}):
        cells = []
        for kind in range(len(KINDS)):
            originals, copies = planted.pairs(kind)
            is_own = planted.sources[originals] == source
            own = originals[is_own]
            median = median_distance(planted.index.opened, own)
            gaps = pair_distances(
                read_embeddings(planted.index.opened, own),
                read_embeddings(planted.index.opened, copies[is_own]),
            )
            cells.append(f"{np.median(gaps) / median:.3f}, {gaps.max() / median:.3f}")
        yield source, str(len(own)), f"{median:.3f}", *cells


def found_lines(planted: Planted) -> Iterator[tuple[str, ...]]:
    opened = planted.index.opened
    files = remember(planted.index)
    for neighbours in _NEIGHBOURS:
        started_s = time.process_time()
        left, _ = find_candidates(opened, planted.fields, 4.0, neighbours=neighbours)
        took_s = time.process_time() - started_s
        wrong = find_copies(
            opened, planted.fields, copy_limits(opened), files, neighbours=neighbours
        )
        for pair in zip(wrong.left, wrong.right, strict=True):
            measuring.tell(f"{neighbours}: " + " ".join(planted.stems[row] for row in pair))
        shares, worst = [], []
        for kind in range(len(KINDS)):
            is_found, sources = find_planted(planted, kind, files, neighbours)
            shares.append(f"{is_found.mean():.1%}")
            worst.append(min(is_found[sources == source].mean() for source in {*sources}))
        yield (
            str(neighbours), *shares, f"{worst[0]:.1%}",
            f"{len(left) / len(planted.fields):.1f}", f"{took_s:.1f}", str(len(wrong.left)),
        )  # fmt: skip


def find_planted(
    planted: Planted, kind: int, files: TileFiles, neighbours: int
) -> tuple[np.ndarray, np.ndarray]:
    """Search copies of a kind among all fields: which are found, bool [n], and their sources."""
    opened = planted.index.opened
    originals, copies = planted.pairs(kind)
    # The fields that were planted have the same pixels.
    others = planted.fields[~np.isin(planted.stems[planted.fields], planted.stems[originals])]
    rows = np.unique(np.concatenate([originals, copies, others]))
    found = find_copies(opened, rows, copy_limits(opened), files, neighbours=neighbours)
    pairs = np.minimum(originals, copies) * len(opened) + np.maximum(originals, copies)
    is_found = np.isin(pairs, found.left * len(opened) + found.right)
    return is_found, planted.sources[originals]


def remember(index: Index) -> TileFiles:
    """Return the tile files of an index, each read once."""
    files = tile_files(index.opened, None)
    assert files is not None, "the tiles are gone"
    known: dict[tuple[Path, int], Thumbnail | None] = {}

    def read(paths: Sequence[Path], size_px: int) -> Iterator[Thumbnail | None]:
        new = [path for path in paths if (path, size_px) not in known]
        for path, thumbnail in zip(new, files.read(new, size_px), strict=True):
            known[path, size_px] = thumbnail
        return (known[path, size_px] for path in paths)

    return TileFiles(root=files.root, read=read)
