"""Choose tiles to take out of an index: by an expression over the columns, or by name."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from histo_index.errors import InputError, printable
from histo_index.indexer.lookup import AMBIGUOUS
from histo_index.indexer.opened import OpenIndex
from histo_index.indexer.removal import remove_tiles
from histo_index.search.filtering import passing


def remove(index: OpenIndex, *, where: str | None = None, names: Sequence[str] = ()) -> int:
    """Take tiles out of an index; readers that have it open keep them until they open it again.

    Args:
        index: the newest generation.
        where: an SQL expression over the columns; every tile it is true of is taken out.
        names: image ids, paths or file names of more.

    Returns:
        How many were taken out.

    Raises:
        InputError: nothing is chosen, a name is not in the index, or no tile would be left.
        LockedError: another process is writing the index.
    """
    if where is None and not names:
        raise InputError("nothing to remove: pass --where EXPRESSION or --list FILE")
    is_chosen = np.zeros(len(index), bool)
    if where is not None:
        is_chosen = passing(index.rows, where, hidden=index.hidden)
    rows = index.find_names(pa.array(list(names), pa.string()))
    for name, row in zip(names, rows.tolist(), strict=True):
        if row < 0:
            reason = "a name of several tiles" if row == AMBIGUOUS else "not in the index"
            raise InputError(f"{printable(name)}: {reason}; nothing was removed")
    is_chosen[rows] = True
    if index.is_live is not None:
        is_chosen &= index.is_live
    left = len(index) if index.is_live is None else int(np.count_nonzero(index.is_live))
    chosen = int(np.count_nonzero(is_chosen))
    if chosen == left:
        raise InputError(f"{index.folder}: no tile would be left; delete the folder instead")
    if chosen:
        remove_tiles(index.folder, index.rows.filter(pa.array(is_chosen)))
    return chosen
