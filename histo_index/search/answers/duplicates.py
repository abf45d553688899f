"""Survey an index: groups of near-duplicates, and outliers."""

import logging
from typing import Final

import numpy as np
import pyarrow as pa

from histo_index.arrays import Int64
from histo_index.errors import InputError
from histo_index.indexer.embeddings import read_embeddings
from histo_index.indexer.format.shards import user_columns
from histo_index.indexer.reader import OpenIndex
from histo_index.search.answers.neighbours import Neighbour
from histo_index.search.copies.copies import Copies, find_copies
from histo_index.search.copies.groups import star_groups
from histo_index.search.copies.limits import copy_limits
from histo_index.search.copies.tile_files import TileFiles
from histo_index.search.distance import pair_distances
from histo_index.search.neighbours.nearest import NOBODY, nearest_rows

CONFIRMED: Final = "confirmed"
NOT_CONFIRMED: Final = "not confirmed on pixels"
_HIDDEN: Final = "stem"

_log = logging.getLogger(__name__)


def find_duplicates(
    index: OpenIndex,
    *,
    threshold: float | None = None,
    files: TileFiles | None = None,
) -> pa.Table:
    """Find groups of copies by plain distance and by pixels, whatever distance is searched by.

    Every tile of a group is a copy of its first tile: there are no chains.

    Args:
        index: whose tiles.
        threshold: largest plain distance of two copies; default: see `copy_limits`.
        files: the tile files; None confirms nothing on pixels.

    Returns:
        A row per tile of a group: `group` (from 1, the largest first), `image_id`, `path`, `kind`
        (`first`; `exact`, the same bytes as an earlier tile of the group; or `near`), `distance` to
        the group's first tile, `pixels` (`confirmed` or `not confirmed on pixels`; empty for the
        first tile), and the user's columns.

    Raises:
        InputError: the threshold is no distance.
        IndexFormatError: a file that is needed is damaged.
    """
    limits = copy_limits(index, threshold)
    live = index.live_rows()
    contents = index.rows["sha256"].take(pa.array(live)).combine_chunks().dictionary_encode()
    codes = contents.indices.to_numpy()
    # Codes count contents in the order of their first rows.
    distinct = live[np.unique(codes, return_index=True)[1]]
    found = find_copies(index, distinct, limits, files)
    centres = star_groups(distinct, found.left, found.right)[codes]
    sizes = np.bincount(centres, minlength=len(index))
    order = np.lexsort((live, live != centres, centres, -sizes[centres]))
    order = order[sizes[centres[order]] > 1]
    own = distinct[codes[order]]
    return _group_table(
        index, live[order], own, centres[order], _confirmed_pairs(found, len(index))
    )


def _confirmed_pairs(found: Copies, count: int) -> Int64:
    return (found.left * count + found.right)[found.is_confirmed]


def _group_table(
    index: OpenIndex, rows: Int64, own: Int64, centres: Int64, confirmed: Int64
) -> pa.Table:
    """Describe the tiles of groups.

    Args:
        index: whose tiles.
        rows: int64 [n], ordered by group, the first tile of each group first.
        own: int64 [n], the first row of the same content.
        centres: int64 [n], the first tile of each one's group.
        confirmed: codes `left * N + right` of the pairs that are confirmed on pixels.
    """
    tiles = index.rows.take(pa.array(rows))
    codes = np.minimum(own, centres) * len(index) + np.maximum(own, centres)
    is_confirmed = np.isin(codes, confirmed) | (own == centres)
    is_first, is_exact = rows == centres, own != rows
    kinds = np.where(is_first, "first", np.where(is_exact, "exact", "near"))
    pixels = np.where(is_first, "", np.where(is_confirmed, CONFIRMED, NOT_CONFIRMED))
    distances = pair_distances(read_embeddings(index, centres), read_embeddings(index, rows))
    answer = {
        "group": pa.array(np.cumsum(is_first), pa.int64()),
        "image_id": tiles["image_id"],
        "path": tiles["path"],
        "kind": pa.array(kinds, pa.string()),
        "distance": pa.array(distances, pa.float32()),
        "pixels": pa.array(pixels, pa.string()),
    }
    return pa.table(answer | _own_columns(tiles, answer))


def as_neighbours(duplicates: pa.Table) -> tuple[list[str], list[list[Neighbour]]]:
    """Turn groups into what a montage draws: each group's first tile, and beside it the others."""
    names: list[str] = []
    others: list[list[Neighbour]] = []
    for row in duplicates.select(["image_id", "path", "kind", "distance"]).to_pylist():
        kind = row.pop("kind")
        if kind == "first":
            names.append(row["image_id"])
            others.append([])
        else:
            others[-1].append(Neighbour(rank=len(others[-1]) + 1, **row))
    return names, others


def find_outliers(index: OpenIndex, *, count: int) -> pa.Table:
    """Find the tiles least like anything: those whose nearest other tile is furthest away.

    Args:
        index: whose tiles.
        count: how many; fewer come back if the index holds fewer.

    Returns:
        A row per tile, the furthest first: `rank`, `image_id`, `path`, `distance` to the nearest
        other tile, `nearest` (its image id), and the user's columns.

    Raises:
        InputError: the count is not positive, or there is no other tile.
        IndexFormatError: a file that is needed is damaged.
    """
    if count < 1:
        raise InputError(f"count is {count}; expected at least 1")
    live = index.live_rows()
    found = nearest_rows(index, index.vectors(live), k=1, own_rows=live.tolist())
    if (found.rows[:, 0] == NOBODY).any():
        raise InputError(f"{index.folder} holds one tile, which nothing can be like or unlike")
    order = np.argsort(-found.distances[:, 0], kind="stable")[:count]
    tiles = index.rows.take(pa.array(live[order]))
    answer = {
        "rank": pa.array(range(1, len(order) + 1), pa.int64()),
        "image_id": tiles["image_id"],
        "path": tiles["path"],
        "distance": pa.array(found.distances[order, 0]),
        "nearest": index.rows["image_id"].take(pa.array(found.rows[order, 0])),
    }
    return pa.table(answer | _own_columns(tiles, answer))


def _own_columns(tiles: pa.Table, taken: dict[str, pa.Array]) -> dict[str, pa.ChunkedArray]:
    """Return the user's columns, renamed where the answer has a column of that name."""
    own = [name for name in user_columns(tiles) if name != _HIDDEN]
    return {f"tile_{name}" if name in taken else name: tiles[name] for name in own}
