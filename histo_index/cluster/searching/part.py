"""A range of rows of an index, searched exactly."""

from pathlib import Path

import numpy as np

from histo_index.arrays import Bools, Float32
from histo_index.cluster.searching.merge import NOBODY, Ranked
from histo_index.errors import MismatchError
from histo_index.indexer.nearest.exact import ExactSearch
from histo_index.indexer.nearest.kernel import candidate_distances
from histo_index.indexer.reader import OpenIndex


class IndexPart:
    """Some rows of an index. It opens them when it is first asked."""

    def __init__(self, folder: Path, generation: int, rows: tuple[int, int]) -> None:
        """Choose the rows.

        Args:
            folder: the index.
            generation: the state that is searched.
            rows: first row and end.
        """
        self._folder = folder
        self._generation = generation
        self._start, self._stop = rows
        self._search: ExactSearch | None = None

    def search(self, queries: Float32, count: int, allowed: Bools | None) -> Ranked:
        """Find the nearest of the rows.

        Args:
            queries: float32 [Q, D], rounded to float16 before.
            count: how many.
            allowed: bool [rows of the part], which may come back; None is all.

        Raises:
            MismatchError: the index changed meanwhile.
            IndexFormatError: it is damaged.
        """
        search = self._search or self._open()
        found = search.search(queries, min(count, self._stop - self._start), allowed)
        distances = candidate_distances(
            queries.astype(np.float16), self._matrix, np.maximum(found, 0)
        )
        distances[found == NOBODY] = np.inf
        rows = np.where(found == NOBODY, NOBODY, found + self._start)
        order = np.lexsort((rows, distances))
        each = np.arange(len(rows))[:, None]
        return Ranked(rows=rows[each, order], distances=distances[each, order])

    def _open(self) -> ExactSearch:
        index = OpenIndex(self._folder)
        if index.manifest.generation != self._generation:
            raise MismatchError(
                f"{self._folder}: generation {index.manifest.generation}, and the search began in "
                f"{self._generation}; open the index again"
            )
        # Every byte of the part, once, before an answer rests on it.
        index.verify(np.arange(self._start, self._stop))
        self._matrix = index.matrix[self._start : self._stop]
        self._search = ExactSearch(self._matrix)
        return self._search
