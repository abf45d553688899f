"""Check that a path stays below its root and that its name can be kept."""

import os
import stat
from functools import lru_cache
from pathlib import Path


def leads_out(folder: str, name: str, root: Path) -> str | None:
    """Refuse a path whose target lies outside the root, however it gets there."""
    try:
        # Most files are no links and lie in few folders: following each in full takes 10 times as
        # long as listing them.
        real, is_inside = _resolved(folder, root)
        if stat.S_ISLNK(os.lstat(os.path.join(real, name)).st_mode):
            is_inside = Path(real, name).resolve().is_relative_to(root)
    except FileNotFoundError:
        return None  # reported when its content is read
    except (OSError, RuntimeError, ValueError):
        # RuntimeError: a loop of links, before Python 3.13; ValueError: a zero byte in the name.
        return "not a usable path, or a symbolic link that leads nowhere"
    return None if is_inside else "a symbolic link out of the source folder"


@lru_cache(maxsize=1024)
def _resolved(folder: str, root: Path) -> tuple[str, bool]:
    """Follow the links to a folder; return it and whether it lies below the root."""
    real = Path(folder).resolve()
    return str(real), real.is_relative_to(root)


def unusable_name(name: str) -> str | None:
    """Return why a name cannot be kept in an index; None if it can."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return "the file name is not UTF-8; rename it"
    return None


def printable_name(name: str) -> str:
    """Write a name that is not UTF-8 with its odd bytes escaped."""
    return name.encode("utf-8", "backslashreplace").decode()
