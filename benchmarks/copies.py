"""Copies: how many neighbours to compare, planted ones found, fields mistaken, and the time.

Run as `copies.py choose`, `planted`, `fields` or `time`, each with `--folder`. `choose` uses
training tiles, `planted` tiles of `eval/`. Fields are quarters of `eval/`, a slide, and training
tiles that were cut on a grid.
"""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import measuring
import numpy as np
from clustered import Clusters, prepare_index
from copies_choose import choose, prepare
from copy_tiles import COPIES, SETS, cut_fields, evaluation_tiles, plant

import histo_index
from histo_index.api.index import Index
from histo_index.api.tile_files import tile_files
from histo_index.arrays import Float32, Int64
from histo_index.encoder.decode.thumbnail import read_thumbnails
from histo_index.search.copies.candidates import find_candidates
from histo_index.search.copies.copies import find_copies
from histo_index.search.copies.limits import CORRELATION, THUMBNAIL_PX, copy_limits
from histo_index.search.copies.pixels import Greys, correlations, parts_limit, symmetric_parts

_ROWS: Final = (25_000, 50_000, 100_000, 200_000)
# Numbers of an embedding of the bundled encoder.
_SIZE: Final = 2416
# Fields compared with all others at a time, and the pairs listed.
_BLOCK: Final = 1024
_MOST_LISTED: Final = 30

T = TypeVar("T")


def main() -> None:
    options = measuring.parser(__doc__)
    options.add_argument("part", choices=["choose", "planted", "fields", "time"])
    options.add_argument("--folder", type=Path, required=True, help="for tiles and indexes")
    options.add_argument("--rows", type=int, nargs="+", default=_ROWS, help="of `time`")
    given = options.parse_args()
    measuring.print_machine()
    folder = given.folder / given.part
    if given.part == "choose":
        choose(indexed(folder, prepare))
    elif given.part == "planted":
        planted(indexed(folder, lambda empty: plant(empty, evaluation_tiles())))
    elif given.part == "fields":
        fields(folder)
    else:
        times(folder, given.rows)


def planted(index: Index) -> None:
    """Print the share of planted copies that is found, of each kind and set."""
    parts = [path.split("/") for path in index.opened.rows["path"].to_pylist()]
    sets, kinds = np.array([part[0] for part in parts]), np.array([part[1] for part in parts])
    names = [f"{part[0]}/{Path(part[2]).stem}" for part in parts]
    counts = {name: int(((sets == name) & (kinds == "original")).sum()) for name in SETS}
    lines = []
    for number, copy in enumerate(COPIES):
        rows = np.flatnonzero(np.isin(kinds, ["original", f"copy-{number}"]))
        for by, is_shown in (("pixels", True), ("distance alone", False)):
            found = {
                names[a] for a, b in found_pairs(index, rows, is_shown) if names[a] == names[b]
            }
            hits = [sum(name.startswith(f"{own}/") for name in found) for own in SETS]
            shares = (f"{hit / counts[own]:.1%}" for hit, own in zip(hits, SETS, strict=True))
            lines.append((copy, by, *shares))
    header = (f"{name} ({count})" for name, count in counts.items())
    measuring.print_table(("copy", "confirmed by", *header), lines)


def found_pairs(index: Index, rows: Int64, is_shown: bool) -> Iterator[tuple[int, int]]:
    """Find the copies among some rows, with or without their files."""
    files = tile_files(index.opened, None) if is_shown else None
    pairs = find_copies(index.opened, rows, copy_limits(index.opened), files)
    return zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)


def fields(folder: Path) -> None:
    """Print the pairs of fields cut side by side whose pixels agree, whatever an encoder finds."""
    if not folder.exists():
        cut_fields(folder)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    read = [thumbnail for thumbnail in read_thumbnails(paths, THUMBNAIL_PX) if thumbnail]
    assert len(read) == len(paths), "a field cannot be read"
    left, right, found = correlated(np.stack([thumbnail.pixels for thumbnail in read]))
    measuring.tell(f"{len(paths):,} fields, {len(paths) * (len(paths) - 1) // 2:,} pairs")
    images = [path.name.rsplit("__", 1)[0] for path in paths]
    lines = []
    for place in np.argsort(-found, kind="stable").tolist():
        one, other = int(left[place]), int(right[place])
        where = "one image" if images[one] == images[other] else "two images"
        lines.append((f"{found[place]:.3f}", where, paths[one].name, paths[other].name))
    header = ("correlation", "of", "field", "other")
    measuring.print_table(header, lines[:_MOST_LISTED])


def correlated(thumbnails: Greys, least: float = CORRELATION) -> tuple[Int64, Int64, Float32]:
    """Find all pairs of thumbnails that correlate by at least so much, in any orientation.

    Returns:
        int64 [P] twice, and the correlations, float32 [P].
    """
    parts = symmetric_parts(thumbnails).astype(np.float32)
    squares = np.einsum("nd,nd->n", parts, parts)
    pairs = []
    for start in range(0, len(parts), _BLOCK):
        block = slice(start, start + _BLOCK)
        gaps = squares[block, None] + squares - 2 * (parts[block] @ parts.T)
        left, right = np.nonzero(gaps <= parts_limit(least))
        pairs.append(np.stack([left + start, right])[:, left + start < right])
    left, right = np.concatenate(pairs, axis=1)
    found = correlations(thumbnails, left, right)
    is_alike = found >= least
    return left[is_alike], right[is_alike], found[is_alike]


def indexed(folder: Path, make: Callable[[Path], None]) -> Index:
    """Make tiles and index them, unless they are there."""
    path = folder.with_suffix(".hx")
    if not folder.exists():
        make(folder)
    if not path.exists():
        measuring.tell(f"encoding {folder}")
        histo_index.build(folder, path)
    return histo_index.open(path)


def times(folder: Path, rows: Sequence[int]) -> None:
    """Print the CPU seconds of `duplicates` without files, and of finding what pixels decide."""
    lines = []
    clusters = Clusters(count=2000, size=_SIZE, spread=0.5)
    for count in rows:
        home = folder / f"rows-{count}"
        path = prepare_index(home, clusters, rows=count, size=_SIZE, structure="exact")
        index = histo_index.open(path)
        index.opened.verify(np.arange(count))
        without_s, table = seconds(index.duplicates)
        with_s, (left, _) = seconds(partial(find_candidates, index.opened, np.arange(count), 4.0))
        lines.append(
            (f"{count:,}", f"{without_s:.1f}", str(len(table)), f"{with_s:.1f}", f"{len(left):,}")
        )
        measuring.tell(" ".join(lines[-1]))
        shutil.rmtree(home)
    header = ("tiles", "without files, CPU s", "tiles in groups", "candidates, CPU s", "pairs")
    measuring.print_table(header, lines)


def seconds(work: Callable[[], T]) -> tuple[float, T]:
    """Do some work: the CPU seconds that it took, and its result."""
    started_s = time.process_time()
    found = work()
    return time.process_time() - started_s, found


if __name__ == "__main__":
    main()
