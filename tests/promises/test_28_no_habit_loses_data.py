"""Promise 28: no habit loses data silently: labels, tiles and embeddings stand after each."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from histo_index.errors import InputError
from histo_index.indexer.format.manifest import CALIBRATION_NAME
from histo_index.indexer.reader import OpenIndex
from histo_index.indexer.writing.commit import reindex
from histo_index.search.answers.removal import RemoveConfig, remove, restore
from tests.indexer.fakes import FakeEncoder, numbered, run_build, write_tiles
from tests.promises.conftest import Tell

TILES: Final = numbered(24)


class Lab:
    """An index of labelled tiles, their folder and manifest, and a user with habits."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tiles = write_tiles(folder / "lab", TILES)
        self.manifest = folder / "lab.csv"
        self.manifest.write_text("path,label\n" + "".join(f"{n},{n[3]}{n[4]}\n" for n in TILES))
        self.index = folder / "lab.hx"
        self.encoder = FakeEncoder(folder=folder / "fake-encoder")
        self.build(self.tiles, manifest=self.manifest)

    def build(self, *tiles: Path, **options: Any) -> None:
        run_build(self.index, self.encoder, *tiles, **{"allow_drop": False, **options})

    def refused(self, *tiles: Path, **options: Any) -> str:
        """Build and return the one line it is refused with."""
        with pytest.raises(InputError) as caught:
            self.build(*tiles, **options)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def holdings(self) -> dict[str, tuple[str, str, bytes]]:
        """Read content, label and embedding of every live tile, by image id."""
        index = OpenIndex(self.index)
        rows = index.live_rows()
        table = index.rows.take(rows).to_pylist()
        vectors = index.vectors(np.asarray(rows))
        return {
            row["image_id"]: (row["sha256"], row["label"], vector.tobytes())
            for row, vector in zip(table, vectors, strict=True)
        }


def interrupt(lab: Lab, name: str, *tiles: Path, **options: Any) -> None:
    def stop(path: Path) -> None:
        if path.name == name:
            raise KeyboardInterrupt

    lab.encoder.before = stop
    with pytest.raises(KeyboardInterrupt):
        lab.build(*tiles, **options)
    lab.encoder.before = lambda path: None


def forget_the_manifest(lab: Lab) -> None:
    lab.build(lab.tiles)


def name_no_tiles_at_all(lab: Lab) -> None:
    lab.build()


def delete_the_manifest(lab: Lab) -> None:
    lab.manifest.unlink()
    lab.build(lab.tiles)


def name_another_folder(lab: Lab) -> None:
    other = write_tiles(lab.folder / "other", ["a.png"])
    assert "pass --add to add it, or --replace" in lab.refused(other)


def add_another_folder(lab: Lab) -> None:
    lab.build(write_tiles(lab.folder / "other", ["a.png"]), add=True)


def name_a_poorer_manifest(lab: Lab) -> None:
    poorer = lab.folder / "poorer.csv"
    poorer.write_text("path\n" + "".join(f"{name}\n" for name in TILES))
    assert "lacks the column `label`" in lab.refused(lab.tiles, manifest=poorer)


def build_while_the_share_is_away(lab: Lab) -> None:
    lab.tiles.rename(lab.folder / "away")
    assert "24 tiles of the index came from there and were kept" in lab.refused()
    (lab.folder / "away").rename(lab.tiles)


def build_while_the_share_is_empty(lab: Lab) -> None:
    lab.tiles.rename(lab.folder / "away")
    lab.tiles.mkdir()
    assert "none of its files was found; tried" in lab.refused(lab.tiles)
    lab.tiles.rmdir()
    (lab.folder / "away").rename(lab.tiles)


def lose_most_files(lab: Lab) -> None:
    (lab.folder / "kept").mkdir()
    for name in TILES[:20]:
        (lab.tiles / name).rename(lab.folder / "kept" / name)
    assert "would drop 20 of 24 tiles; nothing was changed" in lab.refused()


def list_few_rows_in_the_manifest(lab: Lab) -> None:
    lab.manifest.write_text("path,label\nt0000.png,00\n")
    assert "would drop 23 of 24 tiles; nothing was changed" in lab.refused()


def move_index_and_tiles_and_build_from_elsewhere(lab: Lab) -> None:
    moved = lab.folder / "moved"
    moved.mkdir()
    for path in (lab.tiles, lab.manifest, lab.index):
        shutil.move(path, moved / path.name)
    lab.tiles, lab.manifest, lab.index = moved / "lab", moved / "lab.csv", moved / "lab.hx"
    os.chdir(moved)
    lab.build(Path("lab"))


def interrupt_a_build_that_adds(lab: Lab) -> None:
    more = write_tiles(lab.folder / "more", TILES, content="more {}")
    interrupt(lab, TILES[12], more, add=True)
    lab.build(lab.tiles)


def interrupt_a_build_that_replaces(lab: Lab) -> None:
    more = write_tiles(lab.folder / "more", TILES, content="more {}")
    interrupt(lab, TILES[12], more, replace=True)
    lab.build(lab.tiles)


def remove_by_mistake(lab: Lab) -> None:
    remove(OpenIndex(lab.index), RemoveConfig(where="label < '05'"))
    lab.build()
    restore(lab.index, everything=True)
    lab.build()


def reindex_and_build_again(lab: Lab) -> None:
    (lab.index / CALIBRATION_NAME).write_bytes(b"fitted to other distances")
    reindex(lab.index)
    lab.build()
    assert (lab.index / CALIBRATION_NAME).read_bytes() == b"fitted to other distances"


HABITS: Final[tuple[Callable[[Lab], None], ...]] = (
    forget_the_manifest,
    name_no_tiles_at_all,
    delete_the_manifest,
    name_another_folder,
    add_another_folder,
    name_a_poorer_manifest,
    build_while_the_share_is_away,
    build_while_the_share_is_empty,
    lose_most_files,
    list_few_rows_in_the_manifest,
    move_index_and_tiles_and_build_from_elsewhere,
    interrupt_a_build_that_adds,
    interrupt_a_build_that_replaces,
    remove_by_mistake,
    reindex_and_build_again,
)


@pytest.mark.parametrize("habit", HABITS, ids=lambda habit: habit.__name__)
def test_labels_tiles_and_embeddings_stand_after(
    habit: Callable[[Lab], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tell: Tell
) -> None:
    monkeypatch.chdir(tmp_path)
    lab = Lab(tmp_path)
    before = lab.holdings()
    assert len(before) == 24
    assert before["t0007.png"][1] == "07"
    habit(lab)
    after = lab.holdings()
    assert {name: after.get(name) for name in before} == before
    tell(habit.__name__.replace("_", " "), "24 of 24 tiles stand with label and embedding")
