"""Open a slide with the library that reads it."""

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Protocol, Self

import numpy as np
import numpy.typing as npt

from histo_index.errors import ImageError, InputError
from histo_index.slides.reading.identity import DICOM_SUFFIX
from histo_index.slides.reading.info import SlideInfo

Pixels = npt.NDArray[np.uint8]

_LIBRARIES: Final = ("openslide", "tifffile", "cv2")
_TIFF: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# What a share says that is gone.
_OUT_OF_REACH: Final = (
    errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH,
)  # fmt: skip
INSTALL: Final = "pip install 'histo-index[slides]'"


class Slide(Protocol):
    """An open slide."""

    @property
    def info(self) -> SlideInfo: ...

    def read(self, level: int, x: int, y: int, size: tuple[int, int]) -> Pixels:
        """Read a region: uint8 RGB [H, W, 3], white outside the slide.

        Args:
            level: number of the level.
            x: left edge, in pixels of the level.
            y: upper edge, in pixels of the level.
            size: width and height, in pixels of the level.

        Raises:
            ImageError: the region cannot be decoded.
        """

    def close(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class SlideFile:
    """A slide to open.

    Attributes:
        path: file or folder.
        mpp: microns per level-0 pixel, if the user says so.
    """

    path: Path
    mpp: float | None = None

    def __str__(self) -> str:
        return str(self.path)

    @classmethod
    def of(cls, path: str | Path, mpp: float | None = None) -> Self:
        return cls(path=Path(path), mpp=mpp)


def require_libraries(names: Sequence[str] = _LIBRARIES) -> None:
    """Check that the libraries that read slides are installed, without loading them.

    Args:
        names: of modules.

    Raises:
        InputError: one is missing.
    """
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise InputError(f"slides need {', '.join(missing)}, which is not installed; run {INSTALL}")


def open_slide(file: SlideFile) -> Slide:
    """Open a slide: by OpenSlide, or a TIFF that OpenSlide refuses by tifffile.

    Only a decoder process may call this, because readers of damaged files crash.

    Raises:
        ImageError: it is no slide, or cannot be read.
    """
    from histo_index.slides.reading.openslide_reader import open_by_openslide

    path = _file_to_open(file.path)
    try:
        found = open_by_openslide(path, file)
    except OSError as error:
        raise ImageError(
            f"{file}: cannot be read ({error.strerror or error}); check path and permissions"
        ) from error
    if found is not None:
        return found
    if _is_tiff(path):
        from histo_index.slides.reading.tiff_reader import open_by_tifffile

        return open_by_tifffile(path, file)
    raise ImageError(f"{file}: not a slide: no reader knows its content; check the file")


def explain_fault(file: SlideFile | str, line: str) -> ImageError:
    """Build the error of a slide that a reader failed on: it is out of reach, or damaged.

    Args:
        file: the slide.
        line: what the reader said.
    """
    path = Path(str(file))
    try:
        if path.is_dir():
            os.listdir(path)
        else:
            path.open("rb").close()
    except OSError as error:
        line = error.strerror or str(error)
        is_reachable = False
    else:
        is_reachable = not any(os.strerror(code) in line for code in _OUT_OF_REACH)
    if is_reachable:
        return ImageError(f"{file}: damaged slide ({line}); copy it again")
    return ImageError(
        f"{file}: cannot be read ({line}); check the folder it lies in, and try again"
    )


def _is_tiff(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(4) in _TIFF


def _file_to_open(path: Path) -> Path:
    """Return the file that a reader opens; a folder is a DICOM slide."""
    if not path.is_dir():
        # To open a named pipe waits for its writer.
        if path.exists() and not path.is_file():
            raise ImageError(f"{path}: not a slide: not a regular file; pass a slide")
        return path
    parts = sorted(part for part in path.iterdir() if part.suffix.lower() == DICOM_SUFFIX)
    if not parts:
        raise ImageError(f"{path}: not a slide: a folder without DICOM files; pass its files")
    return parts[0]
