"""Search by several examples of what is meant and of what is not.

Tiles are in order of their distance to the nearest example that is meant. Where one that is not
meant is nearer, the distance is multiplied by how many times nearer it is. Being far from what is
not meant is no merit: a quotient or difference alone would prefer tiles that are far from both. The
distance shown is that to the nearest example that is meant: one between two tiles.

Source: Giacinto and Roli (2004), Instance-based relevance feedback for image retrieval, NIPS 17.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa

from histo_index.arrays import Float32, Int64
from histo_index.indexer.nearest.kernel import candidate_distances
from histo_index.search.answers.neighbours import Nearest, add_verdicts, neighbours_of
from histo_index.search.answers.searching import SearchOptions
from histo_index.search.inputs.resolve import Located
from histo_index.search.neighbours.conditions import Condition
from histo_index.search.neighbours.filters import Filters
from histo_index.search.neighbours.nearest import Found, nearest_rows
from histo_index.serve.state.snapshot import Snapshot

# Tiles near each example that are put in order, for each one that is returned.
_REACH: Final = 8
_LEAST: Final = 200
# Copies of what is not meant come last.
_LEAST_DISTANCE: Final = 1e-6


def search_examples(
    snapshot: Snapshot, like: Sequence[Located], unlike: Sequence[Located], options: SearchOptions
) -> Nearest:
    """Find tiles like some examples and unlike others; the examples themselves are left out.

    Args:
        snapshot: the index.
        like: what is meant, at least one.
        unlike: what is not meant.
        options: `k`, `conditions`, `exclude_same` and `values` are used.
    """
    opened = snapshot.opened
    filters = Filters(conditions=[*options.conditions, *_other_groups(snapshot, like, options)])
    near = nearest_rows(
        opened, np.stack([image.vector for image in like]), k=max(_REACH * options.k, _LEAST),
        own_rows=[image.row for image in like], filters=filters,
    )  # fmt: skip
    examples = [image.row for image in (*like, *unlike) if image.row is not None]
    rows = np.setdiff1d(near.rows[near.rows >= 0], examples)
    order, distances = _order(snapshot, rows, like, unlike)
    order = order[: options.k]
    found = Found(rows=rows[None, order], distances=distances[None, order])
    threshold = snapshot.index.threshold(is_decisive=False)
    (neighbours,) = neighbours_of(opened, found)
    return Nearest(add_verdicts(neighbours, threshold, is_far=False))


def _other_groups(
    snapshot: Snapshot, like: Sequence[Located], options: SearchOptions
) -> list[Condition]:
    """Leave out tiles of the group of any example: each would only leave out its own group."""
    table, same = snapshot.opened.rows, options.exclude_same
    return [
        Condition(
            column=name, operator="ne",
            value=options.values[name] if image.row is None
            else table[name][image.row].cast(pa.string()).as_py(),
        )
        for name in ([same] if isinstance(same, str) else same)
        for image in like
    ]  # fmt: skip


def _order(
    snapshot: Snapshot, rows: Int64, like: Sequence[Located], unlike: Sequence[Located]
) -> tuple[Int64, Float32]:
    """Return the order of tiles, int64 [n], and their distances to what is meant, float32 [n]."""
    wanted = _nearest(snapshot, rows, like)
    values = wanted
    if unlike:
        others = np.maximum(_nearest(snapshot, rows, unlike), _LEAST_DISTANCE)
        values = wanted * np.maximum(1, wanted / others).astype(np.float32)
    return np.argsort(values, kind="stable"), wanted


def _nearest(snapshot: Snapshot, rows: Int64, examples: Sequence[Located]) -> Float32:
    """Compute the distance of tiles to the nearest of some examples, float32 [n]."""
    vectors = np.stack([image.vector for image in examples])
    snapshot.opened.verify(rows)
    every = np.broadcast_to(rows, (len(vectors), len(rows)))
    distances: Float32 = candidate_distances(vectors, snapshot.opened.matrix, every).min(axis=0)
    return distances
