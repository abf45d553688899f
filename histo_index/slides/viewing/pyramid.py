"""The pyramid that a viewer shows: each level halves the one before and is cut into squares.

Level 0 is that of the slide. A square is read from the coarsest level of the slide that is at least
as fine; where both have one scale, its pixels are those that the reader returns.
"""

from dataclasses import dataclass
from typing import Final

from histo_index.slides.reading.info import SlideInfo
from histo_index.slides.reading.regions import LEVEL_TOLERANCE

SQUARE_PX: Final = 512
# Pixels of a slide level that one square may be made from. A slide without coarse levels has a
# pyramid of few levels: its coarsest squares would read all of it.
_MOST_READ: Final = 2**24


@dataclass(frozen=True, kw_only=True)
class PyramidLevel:
    """A level of the pyramid.

    Attributes:
        downsample: level-0 pixels per pixel, a power of two.
        width: in pixels of the level.
        height: in pixels of the level.
        source: number of the slide level that is read.
    """

    downsample: int
    width: int
    height: int
    source: int

    @property
    def columns(self) -> int:
        """How many squares lie side by side."""
        return -(-self.width // SQUARE_PX)

    @property
    def rows(self) -> int:
        """How many squares lie below each other."""
        return -(-self.height // SQUARE_PX)


def list_levels(info: SlideInfo) -> list[PyramidLevel]:
    """List the levels of the pyramid, the finest first.

    The last one is a single square, or the coarsest that can be read at a bounded cost.
    """
    found: list[PyramidLevel] = []
    while not found or max(found[-1].width, found[-1].height) > SQUARE_PX:
        downsample = 2 ** len(found)
        source = _choose_source(info, downsample)
        side = SQUARE_PX * downsample / info.levels[source].downsample
        if found and side**2 > _MOST_READ * (1 + LEVEL_TOLERANCE):
            break
        found.append(
            PyramidLevel(
                downsample=downsample, width=-(-info.width // downsample),
                height=-(-info.height // downsample), source=source,
            )
        )  # fmt: skip
    return found


def _choose_source(info: SlideInfo, downsample: int) -> int:
    """Return the coarsest slide level that is at least as fine as a downsample."""
    limit = downsample * (1 + LEVEL_TOLERANCE)
    fine = [n for n, level in enumerate(info.levels) if level.downsample <= limit]
    return max(fine, key=lambda n: info.levels[n].downsample, default=0)
