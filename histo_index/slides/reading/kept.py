"""Keep slides open between requests, inside a decoder process."""

import os
from functools import lru_cache
from typing import Final

from histo_index.errors import ImageError
from histo_index.slides.reading.reader import Slide, SlideFile, open_slide

# Requests come slide by slide.
_OPEN: Final = 4


def open_kept(file: SlideFile) -> Slide:
    """Return a slide that is still open, or open it; one that was changed is opened again.

    Raises:
        ImageError: it is out of reach, no slide, or cannot be read.
    """
    try:
        status = os.stat(file.path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{file}: cannot be read ({reason})") from error
    return _open_state(file, status.st_size, status.st_mtime_ns)


@lru_cache(_OPEN)
def _open_state(file: SlideFile, size: int, modified_ns: int) -> Slide:
    return open_slide(file)
