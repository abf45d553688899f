"""Search an index in parts, each held by an actor of a Ray cluster."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from histo_index.arrays import Bools, Float32, Int64
from histo_index.cluster.searching.merge import Ranked, merge, split_rows
from histo_index.cluster.searching.part import IndexPart
from histo_index.errors import PartialAnswerError

# A part whose machine is lost is missed after so long.
_LONGEST_S: Final = 120.0

_log = logging.getLogger(__name__)


class ShardedSearch:
    """Exact search by several actors; a `Structure`.

    An actor that is lost is started again by Ray, on another machine if need be, and answers the
    next search.

    Attributes:
        ray: the module, connected.
        actors: one a part.
        allow_partial: whether parts that are lost are only told of.
        parts: number of parts.
        answered: how many answered the last search.
    """

    def __init__(
        self, ray: Any, folder: Path, generation: int, *, rows: int, parts: int,
        allow_partial: bool = False, longest_s: float = _LONGEST_S,
    ) -> None:  # fmt: skip
        """Start the actors.

        Args:
            ray: the module, connected.
            folder: the index, an absolute path that every machine sees.
            generation: the state that is searched.
            rows: N.
            parts: into how many parts the rows are divided.
            allow_partial: answer from the parts that are there, instead of refusing.
            longest_s: how long a part may take.
        """
        self.ray = ray
        self._ranges = split_rows(rows, parts)
        self.allow_partial = allow_partial
        self._longest_s = longest_s
        kind = ray.remote(max_restarts=-1, max_task_retries=0, scheduling_strategy="SPREAD")
        part = kind(IndexPart)
        self.actors = [part.remote(folder, generation, own) for own in self._ranges]
        self.parts = self.answered = len(self._ranges)

    def search(self, queries: Float32, count: int, allowed: Bools | None = None) -> Int64:
        """Return the nearest rows, nearest first; see `Structure`.

        Raises:
            PartialAnswerError: a part did not answer, and partial answers are not allowed.
            HistoIndexError: the index changed, or is damaged.
        """
        shared = self.ray.put(queries)
        asked = [
            actor.search.remote(shared, count, None if allowed is None else allowed[start:stop])
            for actor, (start, stop) in zip(self.actors, self._ranges, strict=True)
        ]
        found = self._gather(asked)
        self.answered = len(found)
        if len(found) < self.parts:
            message = f"only {len(found)} of {self.parts} parts of the index answered"
            if not found or not self.allow_partial:
                raise PartialAnswerError(
                    f"{message}; ask again when their machines are back, or pass --allow-partial"
                )
            _log.warning("partial: %s", message)
        rows = merge(found, count).rows
        missing = count - rows.shape[1]
        return np.pad(rows, ((0, 0), (0, max(missing, 0))), constant_values=-1)

    def _gather(self, asked: Sequence[Any]) -> list[Ranked]:
        ready, late = self.ray.wait(list(asked), num_returns=len(asked), timeout=self._longest_s)
        found: list[Ranked] = []
        for reference in ready:
            try:
                found.append(self.ray.get(reference))
            except self.ray.exceptions.RayTaskError as error:
                raise getattr(error, "cause", None) or error from error
            except self.ray.exceptions.RayError as error:
                _log.warning("a part is lost (%s)", " ".join(str(error).split())[:200])
        for reference in late:
            self.ray.cancel(reference, force=False)
        return found
