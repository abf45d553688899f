"""Refuse slides that are missing, or not those that were indexed."""

import threading
from pathlib import Path
from typing import Final

from histo_index.indexer.hashing.cache import find_state, read_states
from histo_index.indexer.hashing.files import FileState, look_at_slide, slide_marks
from histo_index.indexer.hashing.indexed import is_indexed, knows_slides
from histo_index.serve.safety.refusal import RefusalError
from histo_index.serve.state.slide_list import IndexedSlide
from histo_index.serve.state.snapshot import Snapshot

MISSING: Final = "the file of this slide is missing or out of reach; put it back where it was"
CHANGED: Final = (
    "the file of this slide is not what was indexed, or another version of the reader reads it; "
    "run `histo-index build` again"
)


class Unchanged:
    """Knows the content of slides. A file is hashed once, and never if the build left its state."""

    def __init__(self) -> None:
        """Know no slide yet."""
        self._lock = threading.Lock()
        self._states: dict[Path, FileState] = {}

    def require(self, snapshot: Snapshot, slide: IndexedSlide) -> FileState:
        """Return the state of a slide that is as it was indexed.

        The content of a slide of an index that was made from embeddings is not known.

        Raises:
            RefusalError: its file is missing or was changed since.
        """
        try:
            state = self._look(snapshot, slide)
        except OSError as error:
            raise RefusalError(404, MISSING) from error
        index = snapshot.opened
        if knows_slides(index) and not is_indexed(index, int(slide.rows[0]), state):
            raise RefusalError(404, CHANGED)
        return state

    def _look(self, snapshot: Snapshot, slide: IndexedSlide) -> FileState:
        known = self._states.get(slide.file)
        if known is not None and slide_marks(slide.file) == known[:-1]:
            return known
        # One at a time: requests for one slide come several at once, and its file may be large.
        with self._lock:
            known = self._states.get(slide.file) or find_state(
                read_states(snapshot.opened.folder), slide.name
            )
            self._states[slide.file] = look_at_slide(slide.file, known)
            return self._states[slide.file]
