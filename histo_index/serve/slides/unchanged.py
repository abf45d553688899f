"""Refuse slides that are missing, or not those that were indexed."""

import threading
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from histo_index.indexer.inputs.hashing import (
    FileState,
    look_at_slide,
    slide_marks,
    tile_digest,
)
from histo_index.indexer.writing.hash_cache import read_states
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
        digest = snapshot.opened.rows["sha256"][int(slide.rows[0])].as_py()
        is_known = snapshot.opened.manifest.encoder.declared is None
        if is_known and tile_digest(state.sha256, slide.tile) != digest:
            raise RefusalError(404, CHANGED)
        return state

    def _look(self, snapshot: Snapshot, slide: IndexedSlide) -> FileState:
        known = self._states.get(slide.file)
        if known is not None and slide_marks(slide.file) == known[:-1]:
            return known
        # One at a time: requests for one slide come several at once, and its file may be large.
        with self._lock:
            known = self._states.get(slide.file) or _state_of_build(snapshot, slide)
            self._states[slide.file] = look_at_slide(slide.file, known)
            return self._states[slide.file]


def _state_of_build(snapshot: Snapshot, slide: IndexedSlide) -> FileState | None:
    states = read_states(snapshot.opened.folder)
    rows = states.filter(pc.equal(states["path"], pa.scalar(slide.name))).to_pylist()
    return FileState(**{name: rows[0][name] for name in FileState._fields}) if rows else None
