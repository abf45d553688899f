"""Check that a slide is still what was indexed."""

from pathlib import Path

from histo_index.errors import ImageError
from histo_index.indexer.hashing.cache import find_state, read_states
from histo_index.indexer.hashing.files import look_at_slide
from histo_index.indexer.hashing.indexed import is_indexed, knows_slides
from histo_index.indexer.reader import OpenIndex
from histo_index.slides.reading.identity import file_part


def require_unchanged(index: OpenIndex, row: int, slide: Path) -> None:
    """Check that a slide has the content that was indexed, see `is_indexed`.

    It is read only if its size or times differ from those that the last build saw. Nothing is
    checked where embeddings were imported.

    Args:
        index: holds tiles of the slide.
        row: one of them.
        slide: where the slide lies.

    Raises:
        ImageError: it was changed, or is out of reach.
    """
    if not knows_slides(index):
        return
    name = file_part(index.row(row)["path"])
    try:
        state = look_at_slide(slide, find_state(read_states(index.folder), name))
    except OSError as error:
        reason = error.strerror or error
        raise ImageError(
            f"{slide}: cannot be read ({reason}); check path and permissions"
        ) from error
    if not is_indexed(index, row, state):
        raise ImageError(
            f"{slide}: changed since it was indexed, or read by another version of the reader, so "
            "its tiles may lie elsewhere; run `histo-index build` again"
        )
