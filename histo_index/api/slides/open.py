"""Describe slides and read regions of them, in decoder processes."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from histo_index.errors import ImageError, InputError
from histo_index.limits import STILL_S
from histo_index.slides.reading.identity import SlideTile
from histo_index.slides.reading.info import SlideInfo
from histo_index.slides.reading.reader import SlideFile, require_libraries
from histo_index.slides.tiling.work import DescribeWork

if TYPE_CHECKING:
    from histo_index.arrays import Pixels
    from histo_index.encoder.decode.pool import Answer, DecodePool, Request
    from histo_index.encoder.decode.worker import Work

# A slide of 100,000 × 100,000 pixels without levels is read in minutes, from a slow disk in more.
_SLIDE_TIMEOUT_S: Final = 3600.0


class Slide:
    """A slide.

    Attributes:
        info: levels, scale, bounds and problems.
    """

    def __init__(self, info: SlideInfo, mpp: float | None) -> None:
        """Keep what is known of a slide; see `open`."""
        self.info = info
        self._mpp = mpp

    def __repr__(self) -> str:
        return f"<Slide {self.info.path}: {self.info.width}×{self.info.height} px>"

    def read(self, x: int, y: int, *, mpp: float, size: int) -> "Pixels":
        """Read a square: uint8 RGB [size, size, 3].

        Args:
            x: left edge in level-0 pixels of the whole plane.
            y: upper edge in level-0 pixels of the whole plane.
            mpp: microns per pixel of the result.
            size: its side in pixels.

        Raises:
            ImageError: it cannot be read, or the scale of the slide is unknown.
        """
        from histo_index.encoder.decode.image_file import DecodeLimits, read_tile

        tile = SlideTile(slide=self.info.path, x=x, y=y, mpp=mpp, size=size, slide_mpp=self._mpp)
        return read_tile(Path(str(tile)), DecodeLimits()).pixels


def open(path: str | Path, *, mpp: float | None = None) -> Slide:
    """Open a slide.

    Args:
        path: the file, or the folder of a DICOM slide.
        mpp: microns per level-0 pixel, where the file has none or a wrong one.

    Raises:
        InputError: the libraries for slides are not installed, or there is no such file.
        ImageError: it is no slide, or damaged.
    """
    if not Path(path).exists():
        raise InputError(f"{path}: no such file or folder")
    ((_, found),) = describe([path], mpp={str(path): mpp} if mpp is not None else {})
    if isinstance(found, ImageError):
        raise found
    return Slide(found, mpp)


def describe(
    paths: Sequence[str | Path], *, mpp: "dict[str, float] | None" = None
) -> Iterator[tuple[str, SlideInfo | ImageError]]:
    """Describe slides, in order: each path, and what was found or why not.

    Raises:
        InputError: the libraries for slides are not installed.
    """
    require_libraries()
    files = [SlideFile.of(path, (mpp or {}).get(str(path))) for path in paths]
    with slide_pool(DescribeWork(), len(files)) as pool:
        for file, found in zip(files, pool.prepare(files), strict=True):
            yield str(file), found


def slide_pool(
    work: "Work[Request, Answer]", slides: int, *, still_s: float = STILL_S
) -> "DecodePool[Request, Answer]":
    """Return decoder processes that work on whole slides, one slide a message.

    Args:
        work: what to do with a slide.
        slides: how many there are.
        still_s: a process that computes nothing for so long is ended, and its slide rejected.
    """
    from histo_index.encoder.decode.pool import DecodePool
    from histo_index.encoder.decode.worker import WatchedWork
    from histo_index.hardware import usable_cores

    workers = max(min(usable_cores(), slides), 1)
    watched = WatchedWork(work=work, still_s=still_s)
    return DecodePool(watched, workers=workers, chunk=1, chunk_timeout_s=_SLIDE_TIMEOUT_S)
