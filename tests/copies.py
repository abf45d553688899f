"""Copies of what a session has built once, for tests that change it."""

import os
import shutil
from pathlib import Path


def copy_built(built: Path, folder: Path) -> None:
    """Copy a folder with an index and its encoder into another.

    Weights become links: they are nine tenths of the bytes, and the program replaces files and
    writes into none. A test that damages weights unlinks them first.
    """
    shutil.copytree(built, folder, dirs_exist_ok=True, copy_function=_copy_or_link)


def _copy_or_link(source: str, target: str) -> None:
    if source.endswith(".safetensors"):
        os.link(source, target)
    else:
        shutil.copy2(source, target)
