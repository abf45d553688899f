"""Odd things that stand where a tile could be: names, links, pipes, sizes. Linux makes them all."""

import os
import shutil
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.hostile import INDEXED, formats

LINK_OUT: Final = "a symbolic link out of the source folder"
UNREADABLE: Final = "cannot be read"
IGNORED: Final = "ignored"
# A link to itself shows when listing before Python 3.13 and when reading since.
LOST_LINK: Final = "not a usable path|cannot be read"


@dataclass(frozen=True, kw_only=True)
class OddPlace:
    """Something odd in a source folder.

    Attributes:
        make: puts it under a name.
        fate: INDEXED, IGNORED or the kind of reason it is rejected with; `|` parts several.
    """

    make: Callable[[Path], object]
    fate: str


def _tile(path: Path) -> None:
    # The names make equal contents; each counts by itself.
    path.write_bytes(formats()["png"])


def _huge(path: Path) -> None:
    """A file of a terabyte that takes no room: whoever reads it to the end reads for an hour."""
    with open(path, "wb") as file:
        file.truncate(2**40)


def _beside(path: Path) -> None:
    """A link to a tile beside it, which is a hidden file and no input."""
    target = path.with_name(f".{path.name}"[:200])
    _tile(target)
    path.symlink_to(target.name)


def _link(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


PLACES: Final[Mapping[str, OddPlace]] = {
    "tile": OddPlace(make=_tile, fate=INDEXED),
    "no image by its name": OddPlace(
        make=lambda path: _tile(path.with_suffix(".txt")), fate=IGNORED
    ),
    "hidden file": OddPlace(make=lambda path: _tile(path.with_name(f".{path.name}")), fate=IGNORED),
    "link to a tile": OddPlace(make=_beside, fate=INDEXED),
    "link out": OddPlace(make=_link("/etc/hostname"), fate=LINK_OUT),
    "link to a device": OddPlace(make=_link("/dev/zero"), fate=LINK_OUT),
    "link out by steps": OddPlace(make=_link("../" * 40 + "etc/hostname"), fate=LINK_OUT),
    "link to nothing": OddPlace(make=_link("nowhere.png"), fate=UNREADABLE),
    "link to itself": OddPlace(make=lambda path: path.symlink_to(path.name), fate=LOST_LINK),
    "linked folder": OddPlace(
        make=lambda path: path.symlink_to("/etc"), fate=f"{LINK_OUT}|a linked folder"
    ),
    "pipe": OddPlace(make=os.mkfifo, fate=UNREADABLE),
    "socket": OddPlace(make=lambda path: os.mknod(path, stat.S_IFSOCK | 0o600), fate=UNREADABLE),
    "terabyte": OddPlace(make=_huge, fate=UNREADABLE),
    "no permission": OddPlace(make=lambda path: path.touch(mode=0), fate=f"{UNREADABLE}|the file"),
}

# Names that are legal and none of our making. A name may have 255 bytes.
ODD_NAMES: Final = (
    "new\nline.png",
    "carriage\rreturn.png",
    "\x1b[31mred.png",
    "x" * 251 + ".png",
    "é" * 125 + ".png",
    " .png",
    "-rf.png",
    "..png",
    "...png",
    "a:b;c,(d).png",
    "'\".png",
    "$(touch owned).png",
    "%s%n.png",
    "\u2028line.png",
    "\u202egnp.png",
    "日本.png",
    "\ufeff.png",
    "CON.png",
    "back\\slash.png",
    "*?.png",
)
NOT_UTF_8: Final = (b"caf\xe9.png", b"\xff\xfe.png", b"\xed\xa0\x80.png")


def write_deep(folder: Path) -> None:
    """A tile so deep that its path is longer than any system call takes."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(20):
        name = "d" * 240
        os.mkdir(name, dir_fd=here)
        deeper = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    with os.fdopen(os.open("deep.png", os.O_CREAT | os.O_WRONLY, dir_fd=here), "wb") as file:
        file.write(formats()["png"])
    os.close(here)


def remove_deep(folder: Path) -> None:
    """Remove what `write_deep` made, in which pytest's own removal would get stuck."""
    shutil.rmtree(folder)
