"""Search an index in parts, each held by an actor of a Ray cluster."""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from histo_index.arrays import Bools, Float32, Int64
from histo_index.cluster.ray_session import cause_of
from histo_index.cluster.searching.merge import Ranked, merge, split_rows
from histo_index.cluster.searching.part import IndexPart
from histo_index.errors import PartialAnswerError

# A part whose machine is out of reach is missed after so long.
_LONGEST_S: Final = 120.0

_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Count:
    """How many parts took part in answers.

    Attributes:
        parts: of the index.
        answered: those that answered, the fewest of several searches.
    """

    parts: int
    answered: int

    @property
    def label(self) -> str | None:
        """What marks a partial answer, such as `3 of 4`; None if it is whole."""
        return None if self.answered == self.parts else f"{self.answered} of {self.parts}"


class ShardedSearch:
    """Exact search by several actors; a `Structure`. Threads may search at once.

    An actor that is lost is started again by Ray, on another machine if need be. Partial answers
    are given only inside `counting`, whose caller labels them.

    Attributes:
        ray: the module, connected.
        actors: one a part.
        allow_partial: whether answers may lack parts.
        parts: number of parts.
    """

    def __init__(
        self, ray: Any, folder: Path, generation: int, *, rows: int, parts: int,
        allow_partial: bool = False, longest_s: float = _LONGEST_S,
    ) -> None:  # fmt: skip
        """Start the actors, and wait until they have opened their parts.

        Args:
            ray: the module, connected.
            folder: the index, an absolute path that every machine sees.
            generation: the state that is searched.
            rows: N.
            parts: into how many parts the rows are divided.
            allow_partial: answer from the parts that are there, instead of refusing.
            longest_s: how long a part may take to answer.

        Raises:
            HistoIndexError: the index has changed, or is damaged.
        """
        self.ray = ray
        self._ranges = split_rows(rows, parts)
        self.allow_partial = allow_partial
        self._longest_s = longest_s
        kind = ray.remote(max_restarts=-1, max_task_retries=0, scheduling_strategy="SPREAD")
        part = kind(IndexPart)
        self.actors = [part.remote(folder, generation, own) for own in self._ranges]
        self.parts = len(self._ranges)
        self._counts = threading.local()
        self._gather([actor.check.remote() for actor in self.actors], None)

    @contextmanager
    def counting(self) -> Iterator[Count]:
        """Count the parts that answer the searches of this thread inside the block."""
        before = getattr(self._counts, "now", None)
        self._counts.now = count = Count(parts=self.parts, answered=self.parts)
        try:
            yield count
        finally:
            self._counts.now = before

    def search(self, queries: Float32, count: int, allowed: Bools | None = None) -> Int64:
        """Return the nearest rows, nearest first; see `Structure`.

        Raises:
            PartialAnswerError: a part did not answer, and partial answers are not allowed.
            HistoIndexError: the index has changed, or is damaged.
        """
        shared = self.ray.put(queries)
        asked = [
            actor.search.remote(shared, count, None if allowed is None else allowed[start:stop])
            for actor, (start, stop) in zip(self.actors, self._ranges, strict=True)
        ]
        found: list[Ranked] = self._gather(asked, self._longest_s)
        if len(found) < self.parts:
            self._miss(len(found))
        rows = merge(found, count).rows
        missing = count - rows.shape[1]
        return np.pad(rows, ((0, 0), (0, max(missing, 0))), constant_values=-1)

    def _miss(self, answered: int) -> None:
        """Count a partial answer, or refuse it."""
        message = f"only {answered} of {self.parts} parts of the index answered"
        count: Count | None = getattr(self._counts, "now", None)
        if not answered or not self.allow_partial or count is None:
            hint = "" if self.allow_partial else ", or pass --allow-partial"
            raise PartialAnswerError(f"{message}; ask again when their machines are back{hint}")
        _log.warning("partial: %s", message)
        count.answered = min(count.answered, answered)

    def _gather(self, asked: Sequence[Any], longest_s: float | None) -> list[Any]:
        ready, late = self.ray.wait(list(asked), num_returns=len(asked), timeout=longest_s)
        found = []
        for reference in ready:
            try:
                found.append(self.ray.get(reference))
            except self.ray.exceptions.RayTaskError as error:
                raise cause_of(error) from error
            except self.ray.exceptions.RayError as error:
                _log.warning("a part is lost (%s)", " ".join(str(error).split())[:200])
        for reference in late:
            self.ray.cancel(reference, force=False)
        return found
