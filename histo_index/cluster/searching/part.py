"""A range of rows of an index, searched exactly."""

from pathlib import Path

import numpy as np

from histo_index.arrays import Bools, Float16, Float32
from histo_index.cluster.searching.merge import NOBODY, Ranked
from histo_index.errors import HistoIndexError, MismatchError
from histo_index.indexer.nearest.exact import ExactSearch
from histo_index.indexer.nearest.kernel import candidate_distances
from histo_index.indexer.stored_vectors import StoredVectors, open_files


class IndexPart:
    """Some rows of an index."""

    def __init__(self, folder: Path, generation: int, rows: tuple[int, int]) -> None:
        """Open the rows and verify every byte of them; `check` raises what went wrong.

        Args:
            folder: the index.
            generation: the state that is searched.
            rows: first row and end.
        """
        self._start, self._stop = rows
        self._error: HistoIndexError | None = None
        try:
            self._matrix = _open(folder, generation, rows)
            self._search = ExactSearch(self._matrix)
        except HistoIndexError as error:  # an actor that cannot be made loses its reason
            self._error = error

    def check(self) -> None:
        """Return if the rows can be searched.

        Raises:
            MismatchError: the index has changed since `generation`.
            IndexFormatError: it is damaged.
        """
        if self._error is not None:
            raise self._error

    def search(self, queries: Float32, count: int, allowed: Bools | None) -> Ranked:
        """Find the nearest of the rows.

        Args:
            queries: float32 [Q, D], rounded to float16 before.
            count: how many.
            allowed: bool [rows of the part], which may come back; None is all.

        Raises:
            HistoIndexError: see `check`.
        """
        self.check()
        found = self._search.search(queries, min(count, self._stop - self._start), allowed)
        distances = candidate_distances(
            queries.astype(np.float16), self._matrix, np.maximum(found, 0)
        )
        distances[found == NOBODY] = np.inf
        rows = np.where(found == NOBODY, NOBODY, found + self._start)
        order = np.lexsort((rows, distances))
        each = np.arange(len(rows))[:, None]
        return Ranked(rows=rows[each, order], distances=distances[each, order])


def _open(folder: Path, generation: int, rows: tuple[int, int]) -> Float16:
    # Not the whole index: a part needs no names, and those of all tiles would be read first.
    manifest, files = open_files(folder)
    if manifest.generation != generation:
        raise MismatchError(
            f"{folder}: generation {manifest.generation}, and the search began in "
            f"{generation}; open the index again"
        )
    vectors = StoredVectors(manifest, files)
    # Every byte of the part, once, before an answer rests on it.
    vectors.verify(np.arange(*rows))
    return vectors.matrix[slice(*rows)]
