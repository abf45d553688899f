"""The process that decodes tiles: hostile files meet it and not the run.

Reads pickled requests from stdin, answers each tile on stdout. It imports Pillow and numpy only, so
that it starts in a tenth of a second.
"""

import os
import pickle
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from histo_index.encoder.images import DecodeLimits, Pixels, read_tile
from histo_index.encoder.preprocessing import Preprocessing, fit_tile
from histo_index.errors import ImageError


@dataclass(frozen=True, kw_only=True)
class PreparedTile:
    """A tile ready for the network.

    Attributes:
        pixels: uint8 RGB [S, S, 3].
        sha256: hex digest of the file.
        width: of the whole tile, orientation applied, pixels.
        height: likewise.
        note: what was left out when decoding, or None.
    """

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
        pixels=fit_tile(tile.pixels, settings.preprocessing),
        sha256=tile.sha256,
        width=width,
        height=height,
        note=tile.note,
    )


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer lists of paths until the input ends: one answer per path, in order."""
    settings: DecodeSettings = pickle.load(requests)
    while True:
        try:
            paths: list[Path] = pickle.load(requests)
        except EOFError:
            return
        for path in paths:
            pickle.dump(prepare(path, settings), answers, protocol=pickle.HIGHEST_PROTOCOL)
            answers.flush()


def main() -> None:
    """Serve on stdin and stdout."""
    # Anything a library prints must not end up between the answers.
    private = os.dup(1)
    os.dup2(2, 1)
    with open(private, "wb") as out:
        serve(sys.stdin.buffer, out)
