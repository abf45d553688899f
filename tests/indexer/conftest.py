"""A fake encoder, a few tiles, a folder for a user without root's powers."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.indexer.fakes import FakeEncoder, is_root, numbered, write_tiles

# The number of `nobody` nearly everywhere; any number without rights does.
_NOBODY = 65534


@pytest.fixture
def encoder(tmp_path: Path) -> FakeEncoder:
    return FakeEncoder(folder=tmp_path / "fake-encoder")


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    """A folder of 20 tiles."""
    return write_tiles(tmp_path / "tiles", numbered(20))


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Where an index is to be."""
    return tmp_path / "tiles.hx"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="histo-index-test-"))
    folder.chmod(0o755)
    yield folder
    for path in folder.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(folder)


@pytest.fixture
def drop_root() -> Iterator[Callable[[], None]]:
    """Give up root's powers until the test ends; without them there is nothing to do."""
    was_root = is_root()

    def drop() -> None:
        if was_root:
            os.seteuid(_NOBODY)

    yield drop
    if was_root:
        os.seteuid(0)
