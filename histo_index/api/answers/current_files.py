"""Find out which tile files are still what was indexed."""

from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from histo_index.indexer.hashing.cache import find_state, read_states
from histo_index.indexer.hashing.files import look_at_file, look_at_slide
from histo_index.indexer.hashing.indexed import is_indexed
from histo_index.indexer.reader import OpenIndex
from histo_index.slides.reading.identity import parse_tile


class CurrentFiles:
    """Compares tile files with the content that was indexed; each file or slide once.

    A slide is read only if its size, times or inode differ from those that the last build saw. A
    file that is not of the index, such as a query from elsewhere, counts as current; so does every
    file of an index that was not built from files.
    """

    def __init__(self, index: OpenIndex, root: Path) -> None:
        """Prepare for tiles below a folder."""
        self._index, self._root = index, root.absolute()
        self._found: dict[str, bool] = {}

    def is_current(self, file: Path) -> bool:
        """Return whether a tile file, or the slide of a tile, has the content that was indexed."""
        path = file.absolute()
        if not self._index.manifest.sources or not path.is_relative_to(self._root):
            return True
        name = path.relative_to(self._root).as_posix()
        tile = parse_tile(name)
        key = name if tile is None else tile.slide
        if key not in self._found:
            row = pc.index(self._index.rows["path"], name).as_py()
            try:
                self._found[key] = row < 0 or self._is_same(key, row, is_slide=tile is not None)
            except OSError:
                self._found[key] = False
        return self._found[key]

    def _is_same(self, name: str, row: int, *, is_slide: bool) -> bool:
        file, known = self._root / name, find_state(self._states, name)
        if is_slide:
            return is_indexed(self._index, row, look_at_slide(file, known))
        expected: str = self._index.rows["sha256"][row].as_py()
        return look_at_file(file, known).sha256 == expected

    @cached_property
    def _states(self) -> pa.Table:
        return read_states(self._index.folder)
