"""Group copies around centres: no chains."""

import numpy as np

from histo_index.arrays import Int64


def star_groups(rows: Int64, left: Int64, right: Int64) -> Int64:
    """Assign each tile to the centre that it is a copy of.

    The tile with the most copies becomes a centre and takes all its copies; then the next one among
    those left. So every tile of a group is a copy of its centre, and two tiles never meet through
    a third that is in neither's reach.

    Args:
        rows: int64 [n], ascending.
        left: int64 [P], one row of each pair of copies.
        right: int64 [P], the other.

    Returns:
        int64 [n], the centre's row; the tile's own row where it is a centre or has no copy.
    """
    both = np.concatenate([left, right])
    order = np.argsort(both, kind="stable")
    others = np.concatenate([right, left])[order]
    starts = np.searchsorted(both[order], rows)
    ends = np.searchsorted(both[order], rows, side="right")
    centres = {int(row): int(row) for row in rows}
    is_free = dict.fromkeys(centres, True)
    counts = ends - starts
    for position in np.lexsort((rows, -counts)):
        row = int(rows[position])
        if not is_free[row] or not counts[position]:
            continue
        is_free[row] = False
        for other in others[starts[position] : ends[position]].tolist():
            if is_free[other]:
                centres[other], is_free[other] = row, False
    return np.array([centres[int(row)] for row in rows], np.int64)
