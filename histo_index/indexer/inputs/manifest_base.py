"""Find the folder that the paths of a manifest start from."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from histo_index.slides.reading.identity import file_part

# Rows that are looked up.
_PROBES: Final = 200


def choose_base(paths: Sequence[str], bases: Sequence[Path]) -> tuple[Path, tuple[Path, ...]]:
    """Choose the folder that the paths of a manifest start from.

    Returns:
        The base below which most of a sample of files exist, the first of equals; and, if no file
        at all exists below any of them, where the first one was looked for.
    """
    named = [path for path in paths if path]
    sample = named[:: -(-len(named) // _PROBES)] if named else []
    counts = [sum(_exists(base, path) for path in sample) for base in bases]
    if max(counts) or not named:
        return bases[counts.index(max(counts))], ()
    for base in bases:
        if any(_exists(base, path) for path in named):
            return base, ()
    return bases[0], tuple(dict.fromkeys(base / named[0] for base in bases))


def _exists(base: Path, path: str) -> bool:
    try:
        return os.path.lexists(os.path.join(base, file_part(path)))
    except ValueError:  # a zero byte
        return False
