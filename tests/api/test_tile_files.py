"""Tile files are compared on pixels where they are; where they are gone they are not looked for."""

from pathlib import Path

import numpy as np

from histo_index.api.tile_files import tile_files
from histo_index.indexer.reader import OpenIndex
from tests.vectors import build_numbered, unit_vectors


def test_files_are_used_while_some_of_them_are_there(tmp_path: Path) -> None:
    folder, _ = build_numbered(tmp_path, unit_vectors(9, 8), [f"{n}.png" for n in range(9)])
    index, tiles = OpenIndex(folder), tmp_path / "tiles"
    files = tile_files(index, None)
    assert files is not None
    assert files.root.resolve() == tiles.resolve()
    for number in range(8):
        (tiles / f"{number}.png").unlink()
    assert tile_files(index, None) is not None
    moved = tiles.rename(tmp_path / "moved")
    assert tile_files(index, None) is None
    found = tile_files(index, moved)
    assert found is not None
    assert found.root == moved
    (moved / "8.png").unlink()
    assert tile_files(index, moved) is None


def test_removed_tiles_are_not_looked_for(tmp_path: Path) -> None:
    names = [f"{n}.png" for n in range(9)]
    folder, _ = build_numbered(tmp_path, unit_vectors(9, 8), names)
    for name in names[1:]:
        (tmp_path / "tiles" / name).unlink()
    index = OpenIndex(folder)
    index.is_live = np.arange(9) > 0
    assert tile_files(index, None) is None
