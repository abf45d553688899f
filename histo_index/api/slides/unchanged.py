"""Check that a slide is still what was indexed."""

from pathlib import Path

from histo_index.errors import ImageError
from histo_index.indexer.inputs.hashing import look_at_slide
from histo_index.indexer.reader import OpenIndex
from histo_index.indexer.writing.hash_cache import find_state, read_states


def require_unchanged(index: OpenIndex, name: str, slide: Path) -> None:
    """Check that a slide has the content that was indexed.

    It is read only if its size or times differ from those that the last build saw. Nothing is
    checked if no build saw it, as with imported features.

    Args:
        index: holds tiles of the slide.
        name: the slide in the column `path`.
        slide: where it lies.

    Raises:
        ImageError: it was changed, or is out of reach.
    """
    known = find_state(read_states(index.folder), name)
    if known is None:
        return
    try:
        if look_at_slide(slide, known).sha256 == known.sha256:
            return
    except OSError as error:
        reason = error.strerror or error
        raise ImageError(
            f"{slide}: cannot be read ({reason}); check path and permissions"
        ) from error
    raise ImageError(
        f"{slide}: changed since it was indexed, so its tiles lie elsewhere; run "
        "`histo-index build` again"
    )
