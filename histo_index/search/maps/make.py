"""Make the map of an index: lay its tiles out, and place what comes later by its neighbours."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from histo_index.arrays import Float32, Int64
from histo_index.errors import InputError
from histo_index.indexer.reader import OpenIndex
from histo_index.progress import report
from histo_index.search.maps.layout import STEPS, lay_out, require_library
from histo_index.search.maps.place import place
from histo_index.search.maps.plane import project
from histo_index.search.maps.tile_map import MapFacts, TileMap
from histo_index.search.neighbours.nearest import nearest_among
from histo_index.wording import counted

# With fewer, a tile has no neighbourhood that is smaller than the whole.
FEWEST: Final = 16
_BLOCK: Final = 4096


@dataclass(frozen=True, kw_only=True)
class MapConfig:
    """How a map is made.

    Attributes:
        perplexity: about how many neighbours each tile is laid out by.
        seed: of the sample and of the first places.
        most: tiles that are laid out, random ones of more.
    """

    perplexity: float = 30.0
    seed: int = 0
    most: int = 100_000

    def __post_init__(self) -> None:
        if not 2 <= self.perplexity <= 1_000:
            raise InputError(f"--perplexity {self.perplexity}: expected 2 to 1000")
        if self.most < FEWEST:
            raise InputError(f"--most {self.most}: expected at least {FEWEST}")


def make_map(index: OpenIndex, config: MapConfig) -> TileMap:
    """Lay the tiles of an index out, and place those beyond `most` by their neighbours.

    Raises:
        InputError: there are too few tiles, or openTSNE is not installed.
        IndexFormatError: a part of the index that is needed is damaged.
    """
    require_library()
    contents, rows = distinct_contents(index)
    if len(rows) < FEWEST:
        raise InputError(
            f"{index.folder}: {counted(len(rows), 'different tile')}; a map needs at least {FEWEST}"
        )
    count = min(len(rows), config.most)
    drawn = np.random.default_rng(config.seed).choice(len(rows), count, replace=False)
    chosen = np.sort(drawn)
    perplexity = min(config.perplexity, (count - 1) / 3)
    neighbours, distances = _search(index, rows[chosen], k=int(3 * perplexity))
    points = lay_out(
        neighbours, distances, project(index, rows[chosen]),
        perplexity=perplexity, seed=config.seed,
    )  # fmt: skip
    laid = TileMap(
        facts=_facts(index, config, count, perplexity),
        contents=contents.take(pa.array(chosen)), points=points,
        nearest=np.ascontiguousarray(distances[:, 0]), is_placed=np.zeros(count, bool),
    )  # fmt: skip
    return complete(index, laid)


def _facts(index: OpenIndex, config: MapConfig, count: int, perplexity: float) -> MapFacts:
    return MapFacts(
        method=require_library(), perplexity=perplexity, steps=STEPS, seed=config.seed,
        laid_out=count, fingerprint=index.manifest.fingerprint,
        distance=index.manifest.distance_name, generation=index.manifest.generation,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )  # fmt: skip


def complete(index: OpenIndex, tile_map: TileMap) -> TileMap:
    """Return the map of exactly the tiles of an index, those that it lacks placed.

    Raises:
        MismatchError: it was made for another encoder or kind of distance.
        InputError: no tile that was laid out is in the index any more.
        IndexFormatError: a part of the index that is needed is damaged.
    """
    tile_map.require_fits(index.manifest)
    contents, rows = distinct_contents(index)
    at = _look_up(tile_map.contents, contents)
    kept = tile_map.select(np.isin(np.arange(len(tile_map)), at))
    if len(kept) == len(contents):
        return kept
    laid = kept.select(~kept.is_placed)
    if not len(laid):
        raise InputError(
            f"{index.folder}: no tile of its map is left; run `histo-index map --overwrite`"
        )
    missing = np.flatnonzero(at < 0)
    laid_rows = rows[_look_up(contents, laid.contents)]
    points, nearest = place(index, rows[missing], laid_rows, laid.points)
    placed = TileMap(
        facts=kept.facts, contents=contents.take(pa.array(missing)), points=points,
        nearest=nearest, is_placed=np.ones(len(missing), bool),
    )  # fmt: skip
    return kept.join(placed)


@dataclass(frozen=True, kw_only=True)
class Places:
    """The tiles of an index on its map, in the order of its live rows.

    Attributes:
        rows: int64 [N].
        points: float32 [N, 2].
        nearest: float32 [N], distance to the nearest other content that was laid out.
        facts: what made the map.
        placed: how many tiles were placed by their neighbours.
    """

    rows: Int64
    points: Float32
    nearest: Float32
    facts: MapFacts
    placed: int


def places_of(index: OpenIndex, tile_map: TileMap) -> Places:
    """Find each live tile on the map of its index; see `complete`."""
    whole = complete(index, tile_map)
    rows = index.live_rows()
    at = _look_up(whole.contents, index.rows["sha256"].take(pa.array(rows)))
    return Places(
        rows=rows, points=whole.points[at], nearest=whole.nearest[at], facts=whole.facts,
        placed=int(np.count_nonzero(whole.is_placed[at])),
    )  # fmt: skip


def distinct_contents(index: OpenIndex) -> tuple[pa.Array, Int64]:
    """List the contents of the live tiles, string [M], and the first row of each, int64 [M]."""
    rows = index.live_rows()
    digests = index.rows["sha256"].take(pa.array(rows)).combine_chunks().dictionary_encode()
    _, first = np.unique(digests.indices.to_numpy(), return_index=True)
    return digests.dictionary, rows[first]


def _look_up(contents: pa.Array, wanted: pa.Array | pa.ChunkedArray) -> Int64:
    """Find contents: int64 [n], -1 where one is not there."""
    found = pc.index_in(wanted, value_set=contents)
    at: Int64 = pc.fill_null(found, -1).to_numpy().astype(np.int64)
    return at


def _search(index: OpenIndex, rows: Int64, *, k: int) -> tuple[Int64, Float32]:
    """Find the neighbours of tiles among them, by position: int64 [n, K], float32 [n, K]."""
    numbers = np.full(len(index) + 1, -1, np.int64)
    numbers[rows] = np.arange(len(rows))
    is_meant = numbers[:-1] >= 0
    parts = []
    for start in range(0, len(rows), _BLOCK):
        report("comparing", start, len(rows))
        own = rows[start : start + _BLOCK]
        parts.append(nearest_among(index, own, is_meant, k=k))
    report("comparing", len(rows), len(rows))
    found = np.concatenate([part.rows for part in parts])
    return numbers[found], np.concatenate([part.distances for part in parts])
