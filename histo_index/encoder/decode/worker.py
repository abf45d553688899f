"""The process that decodes tiles: hostile files meet it and not the run.

Reads pickled requests from stdin, answers each tile on stdout. It imports Pillow and numpy only, so
that it starts in a tenth of a second.
"""

import contextlib
import logging
import os
import pickle
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from histo_index.encoder.decode.image_file import DecodeLimits, Pixels, read_tile
from histo_index.encoder.decode.preprocessing import Preprocessing, fit_tile
from histo_index.errors import ImageError
from histo_index.wording import printable

# The first answer: everything was imported and the settings were understood.
READY: Final = "ready"
# Of 1,000, added to a process's share of the memory when the kernel chooses which one to kill: a
# decoder costs one tile, its parent the build.
_OOM_SCORE: Final = 500


@dataclass(frozen=True, kw_only=True)
class PreparedTile:
    """A tile ready for the network.

    Attributes:
        name: how messages call the tile.
        pixels: uint8 RGB [S, S, 3].
        sha256: hex digest of the file.
        width: of the whole tile, orientation applied, pixels.
        height: likewise.
        note: what was left out when decoding, or None.
    """

    name: str
    pixels: Pixels
    sha256: str
    width: int
    height: int
    note: str | None


@dataclass(frozen=True, kw_only=True)
class DecodeSettings:
    """What a worker is told once, before its first tile."""

    limits: DecodeLimits
    preprocessing: Preprocessing


def prepare(path: Path, settings: DecodeSettings) -> PreparedTile | ImageError:
    """Read, decode and fit one tile; a bad one is returned as its error."""
    try:
        tile = read_tile(path, settings.limits)
    except ImageError as error:
        return error
    height, width = tile.pixels.shape[:2]
    return PreparedTile(
        name=printable(path),
        pixels=fit_tile(tile.pixels, settings.preprocessing),
        sha256=tile.sha256,
        width=width,
        height=height,
        note=tile.note,
    )


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Say READY, then answer lists of paths until the input ends: one answer per path, in order."""
    settings: DecodeSettings = pickle.load(requests)
    _send(READY, answers)
    while True:
        try:
            paths: list[Path] = pickle.load(requests)
        except EOFError:
            return
        for path in paths:
            _send(prepare(path, settings), answers)


def main() -> None:
    """Serve on stdin and stdout."""
    # Ctrl-C reaches every process of the group; the parent ends its children itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _offer_to_the_kernel()
    # What Pillow found wrong with a file stands in the answer.
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    # Anything a library prints must not end up between the answers, and libtiff's remarks on a
    # "tempfile.tif" help nobody; a traceback of ours still reaches the old stderr.
    private = os.dup(1)
    sys.stderr = os.fdopen(os.dup(2), "w")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    # The parent may be gone before it has read everything.
    with contextlib.suppress(BrokenPipeError), open(private, "wb") as out:
        serve(sys.stdin.buffer, out)


def _offer_to_the_kernel() -> None:
    """Be killed before others when memory runs out; only Linux can be told."""
    path = Path("/proc/self/oom_score_adj")
    with contextlib.suppress(OSError):
        path.write_text(str(min(int(path.read_text()) + _OOM_SCORE, 1000)))


def _send(answer: PreparedTile | ImageError | str, answers: BinaryIO) -> None:
    pickle.dump(answer, answers, protocol=pickle.HIGHEST_PROTOCOL)
    answers.flush()
