"""The child process that decodes tiles, so that a hostile file cannot end the run.

It reads pickled requests from stdin and writes one answer per tile to stdout. It imports only
Pillow and numpy, so that it starts in a tenth of a second.
"""

import contextlib
import itertools
import logging
import os
import pickle
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Generic, Protocol, TypeVar

from histo_index.arrays import Pixels
from histo_index.encoder.decode.image_file import DecodeLimits, TileImage, read_tile
from histo_index.encoder.decode.preprocessing import Preprocessing, describe_fit, fit_tile
from histo_index.encoder.decode.slide_tiles import read_slide_tiles, slide_of
from histo_index.errors import ImageError
from histo_index.limits import watched
from histo_index.wording import printable

# The first answer: imports and settings are loaded.
READY: Final = "ready"
# Out of 1,000; raises the chance that the kernel kills a decoder (one tile is lost) and not its
# parent (the build is lost) when memory runs out.
_OOM_SCORE: Final = 500


@dataclass(frozen=True, kw_only=True)
class PreparedTile:
    """A tile ready for the network.

    Attributes:
        name: of the tile in messages.
        pixels: uint8 RGB [S, S, 3].
        sha256: hex digest of the file; empty for a tile of a slide.
        width: of the whole tile in pixels, orientation applied.
        height: of the whole tile in pixels, orientation applied.
        note: what decoding and fitting left out or made up, or None.
    """

    name: str
    pixels: Pixels
    sha256: str
    width: int
    height: int
    note: str | None


Request_contra = TypeVar("Request_contra", contravariant=True)
Answer_co = TypeVar("Answer_co", covariant=True)


class Work(Protocol[Request_contra, Answer_co]):
    """What a worker does; it receives this, pickled, before the first request."""

    def answers(self, requests: Sequence[Request_contra]) -> Iterator[Answer_co | ImageError]:
        """Answer each request, in order."""


@dataclass(frozen=True, kw_only=True)
class WatchedWork(Generic[Request_contra, Answer_co]):
    """Does work in a process that ends if it stands still, so that a hanging disk costs one slide.

    Attributes:
        work: what to do.
        still_s: how long it may compute nothing.
    """

    work: Work[Request_contra, Answer_co]
    still_s: float

    def answers(self, requests: Sequence[Request_contra]) -> Iterator[Answer_co | ImageError]:
        """Answer each request, in order."""
        return watched(self.work.answers(requests), self.still_s)


@dataclass(frozen=True, kw_only=True)
class DecodeSettings:
    """Decodes tiles and fits them to the network."""

    limits: DecodeLimits
    preprocessing: Preprocessing

    def answers(self, requests: Sequence[Path]) -> Iterator[PreparedTile | ImageError]:
        """Decode and fit each tile, in order; neighbours on a slide are read as one block."""
        for slide, paths in itertools.groupby(requests, slide_of):
            if slide is None:
                yield from (prepare(path, self) for path in paths)
                continue
            names = list(paths)
            for path, tile in zip(names, read_slide_tiles(names, self.limits), strict=True):
                yield tile if isinstance(tile, ImageError) else fit(path, tile, self)


def prepare(path: Path, settings: DecodeSettings) -> PreparedTile | ImageError:
    """Read, decode and fit one image file; return the error of one that cannot be read."""
    try:
        tile = read_tile(path, settings.limits)
    except ImageError as error:
        return error
    return fit(path, tile, settings)


def fit(path: Path, tile: TileImage, settings: DecodeSettings) -> PreparedTile:
    """Fit a decoded tile to the network."""
    height, width = tile.pixels.shape[:2]
    notes = (tile.note, describe_fit(height, width, settings.preprocessing))
    return PreparedTile(
        name=printable(path),
        pixels=fit_tile(tile.pixels, settings.preprocessing),
        sha256=tile.sha256,
        width=width,
        height=height,
        note="; ".join(filter(None, notes)) or None,
    )


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer READY, then each list of requests until the input ends: one answer each, in order."""
    work: Work[Any, Any] = pickle.load(requests)
    _send(READY, answers)
    while True:
        try:
            batch: list[Any] = pickle.load(requests)
        except EOFError:
            return
        for answer in work.answers(batch):
            _send(answer, answers)


def main() -> None:
    """Serve on stdin and stdout."""
    # Ctrl-C reaches every process of the group; the parent ends its children itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _raise_oom_score()
    # The answer contains the message of Pillow.
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    # Output of libraries must not mix with the answers, and remarks of libtiff on a "tempfile.tif"
    # are useless; a traceback of this package still reaches the old stderr.
    private = os.dup(1)
    sys.stderr = os.fdopen(os.dup(2), "w")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    # The parent may exit before it has read everything.
    with contextlib.suppress(BrokenPipeError), open(private, "wb") as out:
        serve(sys.stdin.buffer, out)


def _raise_oom_score() -> None:
    """Let Linux kill this process before others when memory runs out."""
    path = Path("/proc/self/oom_score_adj")
    with contextlib.suppress(OSError):
        path.write_text(str(min(int(path.read_text()) + _OOM_SCORE, 1000)))


def _send(answer: object, answers: BinaryIO) -> None:
    pickle.dump(answer, answers, protocol=pickle.HIGHEST_PROTOCOL)
    answers.flush()
