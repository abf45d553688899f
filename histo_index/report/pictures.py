"""Thumbnails of tiles, embedded in the page."""

import base64
import io
from collections.abc import Callable, Sequence
from itertools import takewhile
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Final

from PIL import Image

from histo_index.encoder.decode.image_file import DecodeLimits, read_tile
from histo_index.errors import ImageError

# Shown small, and large on a click: three times the small size.
_SIDE_PX: Final = 320
_QUALITY: Final = 82


class Pictures:
    """Thumbnails of tiles, each read once."""

    def __init__(self, folder: Path, is_current: Callable[[Path], bool] = lambda _: True) -> None:
        """Prepare to read tiles below a folder.

        Args:
            folder: holds the tile files.
            is_current: whether a file still has the content that was indexed; others count as
                missing.
        """
        self._folder, self._is_current = folder, is_current
        self._made: dict[Path, str | None] = {}

    @property
    def missing(self) -> int:
        """Return the number of tiles that could not be read, or changed since they were indexed."""
        return sum(picture is None for picture in self._made.values())

    def of(self, path: str | Path | None) -> str | None:
        """Return the thumbnail of a tile as a `data:` URL; None if it cannot be read.

        Args:
            path: relative to the folder, or absolute; None without a file.
        """
        if path is None:
            return None
        file = self._folder / path
        if file not in self._made:
            self._made[file] = _picture(file) if self._is_current(file) else None
        return self._made[file]


def _picture(file: Path) -> str | None:
    try:
        tile = Image.fromarray(read_tile(file, DecodeLimits()).pixels)
    except ImageError:
        return None
    tile.thumbnail((_SIDE_PX, _SIDE_PX))
    written = io.BytesIO()
    tile.save(written, format="JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(written.getvalue()).decode()}"


def short_names(names: Sequence[str]) -> list[str]:
    """Remove the common parent folders of absolute paths; other names are unchanged.

    Images of equal file names stay distinguishable, and no folder above them is shown. A shortened
    path that equals another name starts with `…/`.
    """
    shown = list(names)
    for kind in (PurePosixPath, PureWindowsPath):
        whole = [row for row, name in enumerate(names) if kind(name).is_absolute()]
        levels = zip(*(kind(names[row]).parent.parts for row in whole), strict=False)
        shared = len(list(takewhile(lambda level: len(set(level)) == 1, levels)))
        ends = ["/".join(kind(names[row]).parts[max(shared, 1) :]) for row in whole]
        others = {shown[row] for row in set(range(len(names))).difference(whole)}
        for row, end in zip(whole, ends, strict=True):
            shown[row] = f"…/{end}" if end in others else end
    return shown
