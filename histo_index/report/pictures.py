"""Small pictures of tiles, inside the page."""

import base64
import io
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Final

from PIL import Image

from histo_index.encoder.decode.image_file import DecodeLimits, read_tile
from histo_index.errors import ImageError

# Twice what the page shows of a tile, for fine screens and for print.
_SIDE_PX: Final = 208
_QUALITY: Final = 82


class Pictures:
    """Pictures of tiles, each read once.

    Attributes:
        missing: how many tiles could not be read.
    """

    def __init__(self, folder: Path) -> None:
        """Read from a folder that paths are relative to."""
        self._folder = folder
        self._made: dict[Path, str | None] = {}

    @property
    def missing(self) -> int:
        """Count the tiles that could not be read."""
        return sum(picture is None for picture in self._made.values())

    def of(self, path: str | Path | None) -> str | None:
        """Give a tile's picture as a `data:` address; None if it cannot be read.

        Args:
            path: relative to the folder, or absolute; None where there is no file.
        """
        if path is None:
            return None
        file = self._folder / path
        if file not in self._made:
            self._made[file] = _picture(file)
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
    """Take from whole paths the folders that all of them share; other names stay as they are.

    What is shown tells images of one file name apart, and no more of where they lie: a whole path
    that would look like another name begins with `…/`.
    """
    shown = list(names)
    for kind in (PurePosixPath, PureWindowsPath):
        whole = [place for place, name in enumerate(names) if kind(name).is_absolute()]
        levels = zip(*(kind(names[place]).parent.parts for place in whole), strict=False)
        shared = len(list(takewhile(lambda level: len(set(level)) == 1, levels)))
        ends = ["/".join(kind(names[place]).parts[max(shared, 1) :]) for place in whole]
        others = {shown[place] for place in set(range(len(names))).difference(whole)}
        for place, end in zip(whole, ends, strict=True):
            shown[place] = f"…/{end}" if end in others else end
    return shown
