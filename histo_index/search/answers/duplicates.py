"""Survey an index: groups of near-duplicates, and outliers."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from histo_index.arrays import Int64
from histo_index.errors import InputError
from histo_index.indexer.format.shards import user_columns
from histo_index.indexer.reader import OpenIndex
from histo_index.search.answers.neighbours import Neighbour
from histo_index.search.distance import pair_distances
from histo_index.search.neighbours.close_pairs import close_pairs
from histo_index.search.neighbours.near_duplicates import near_limit
from histo_index.search.neighbours.nearest import NOBODY, nearest_rows

_HIDDEN: Final = "stem"


def find_duplicates(index: OpenIndex, *, threshold: float | None = None) -> pa.Table:
    """Find groups of near-duplicates.

    Two tiles are in one group if a chain of near-duplicates connects them.

    Args:
        index: whose tiles.
        threshold: distance up to which two tiles are near-duplicates; left out, a hundredth of the
            median distance between tiles drawn at random.

    Returns:
        A row per tile of a group: `group` (from 1, the largest first), `image_id`, `path`, `kind`
        (`first`; `exact`, the same bytes as an earlier tile of the group; or `near`), `distance` to
        the group's first tile, and the user's columns.

    Raises:
        InputError: the threshold is no distance.
        IndexFormatError: a file that is needed is damaged.
    """
    limit = near_limit(index) if threshold is None else threshold
    found = [(left, right) for left, right, _ in close_pairs(index, limit)]
    none = np.empty(0, np.int64)
    left, right = (
        (np.concatenate(side) for side in zip(*found, strict=True)) if found else [none] * 2
    )
    shape = (len(index), len(index))
    links = coo_array((np.ones(len(left), bool), (left, right)), shape=shape)
    _, labels = connected_components(links, directed=False)
    members, sizes = np.unique(labels, return_counts=True)
    groups = [np.flatnonzero(labels == m) for m in members[sizes > 1]]
    groups.sort(key=len, reverse=True)
    return _group_table(index, groups)


def _group_table(index: OpenIndex, groups: Sequence[Int64]) -> pa.Table:
    rows = np.concatenate(groups) if groups else np.empty(0, np.int64)
    firsts = np.repeat([group[0] for group in groups], [len(group) for group in groups])
    numbers = np.repeat(np.arange(1, len(groups) + 1), [len(group) for group in groups])
    tiles = index.rows.take(pa.array(rows))
    contents = [
        tuple(pair) for pair in zip(numbers.tolist(), tiles["sha256"].to_pylist(), strict=True)
    ]
    seen: set[tuple[int, str]] = set()
    kinds = []
    for row, first, content in zip(rows, firsts, contents, strict=True):
        kinds.append("first" if row == first else "exact" if content in seen else "near")
        seen.add(content)
    distances = pair_distances(index.vectors(firsts.astype(np.int64)), index.vectors(rows))
    answer = {"group": pa.array(numbers, pa.int64()), "image_id": tiles["image_id"]}
    answer |= {"path": tiles["path"], "kind": pa.array(kinds, pa.string())}
    answer["distance"] = pa.array(distances, pa.float32())
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
