"""Builds on a disk that is too small, by a page or a file more each time: run it as a program.

    unshare --mount python -m tests.promises.filling FOLDER TILES STEP

FOLDER is new; what it mounts there is seen by nobody else and gone with it. Each disk has STEP
pages or files more than the one before. Prints for each way to fill the disk and each kind of build
a JSON object per size that was tried.
"""

import ctypes
import itertools
import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from tests.indexer.fakes import expected_rows, numbered, write_tiles
from tests.promises.child import ChildBuilds
from tests.promises.killing import names_in, resume, state_of

PAGE: Final = 4096
# More than any of these builds needs.
_PAGES, _FILES = 20_000, 5_000
_REMOUNT: Final = 32
# What the disk runs out of, and whether there was an index before.
WAYS: Final = ("pages", "files")
KINDS: Final = ("first", "again")


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A build on a disk of some size.

    Attributes:
        room: pages or files that were free.
        error: what the build said; None if it came through.
        state: what opened afterwards; see `state_of`.
        temporaries: temporary files left behind.
        repeated: tiles encoded again by the build that went on with space.
        problem: what else was wrong with that; empty if nothing.
    """

    room: int
    error: str | None
    state: str
    temporaries: int
    repeated: int
    problem: str


class Disk:
    """A tmpfs whose size can be changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._mount(0, pages=_PAGES, files=_FILES)

    def leave(self, *, pages: int = _PAGES, files: int = _FILES) -> None:
        """Leave so many pages and files free."""
        facts = os.statvfs(self.folder)
        used = facts.f_blocks - facts.f_bfree, facts.f_files - facts.f_ffree
        self._mount(_REMOUNT, pages=used[0] + pages, files=used[1] + files)

    def _mount(self, flags: int, *, pages: int, files: int) -> None:
        options = f"size={pages * PAGE},nr_inodes={files}".encode()
        if self._libc.mount(b"tmpfs", bytes(self.folder), b"tmpfs", flags, options):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(self.folder))


def sweep(
    folder: Path, children: ChildBuilds, *, tiles: int, step: int, what: str, is_rebuild: bool
) -> Iterator[Attempt]:
    """Try sizes from one to the first at which the build comes through."""
    source = write_tiles(folder / "tiles", numbered(tiles))
    disk = Disk(folder / "disk")
    # As deep as the other, so that the way to the tiles is the same.
    start, output = folder / "start" / "tiles.hx", disk.folder / "tiles.hx"
    old = None
    if is_rebuild:
        assert children.run(source, start)["status"] == 0
        old = expected_rows(source, names_in(source))
        write_tiles(source, numbered(tiles, start=tiles))
    new = expected_rows(source, names_in(source))
    room, error = 1 - step, ""
    while error is not None:
        shutil.rmtree(output, ignore_errors=True)
        disk.leave()
        if is_rebuild:
            shutil.copytree(start, output)
        room += step
        disk.leave(**{what: room})
        error = children.run(source, output)["error"]
        state = state_of(output, old, new)
        temporaries = len(list(output.rglob(".tmp-*")))
        disk.leave()
        resumed = resume(children, source, output, new)
        yield Attempt(
            room=room,
            error=error,
            state=state,
            temporaries=temporaries,
            repeated=resumed.repeated,
            problem=resumed.problem,
        )


def main() -> None:
    folder, tiles, step = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    with ChildBuilds() as children:
        for what, kind in itertools.product(WAYS, KINDS):
            part, is_rebuild = folder / f"{what}-{kind}", kind == "again"
            for attempt in sweep(
                part, children, tiles=tiles, step=step, what=what, is_rebuild=is_rebuild
            ):
                print(json.dumps([what, kind, asdict(attempt)]), flush=True)


if __name__ == "__main__":
    main()
