"""Readers take no lock and see one state, whatever a writer does meanwhile."""

import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from histo_index.errors import IndexFormatError
from histo_index.indexer import opened
from histo_index.indexer.commit import reindex
from histo_index.indexer.manifest import Manifest, read_manifest
from histo_index.indexer.opened import OpenIndex
from tests.indexer.fakes import (
    FakeEncoder,
    expected_rows,
    indexed_rows,
    numbered,
    run_build,
    write_tiles,
)

BUILDS = 20
READS = 200


def test_a_reader_keeps_its_state_through_rebuild_and_clean_up(
    tiles: Path, tmp_path: Path, encoder: FakeEncoder
) -> None:
    output = tmp_path / "tiles.hx"
    run_build(output, encoder, tiles)
    old = expected_rows(tiles, numbered(20))
    before = OpenIndex(output)
    looked_at = OpenIndex(output)
    assert len(looked_at.vectors(np.array([0]))) == 1
    for name in numbered(20)[::2]:
        (tiles / name).write_text(f"another {name}")
    run_build(output, encoder, tiles)
    (tiles / "t0000.png").unlink()
    run_build(output, encoder, tiles)
    reindex(output)
    assert read_manifest(output).generation == 4
    assert not (output / "search" / "000001").exists()
    for index in (before, looked_at):
        assert index.manifest.generation == 1
        assert indexed_rows(index) == old
        # Loaded only now, after its file was removed.
        vectors = index.vectors(np.arange(20)).astype(np.float32)
        assert index.structure.search(vectors, 1)[:, 0].tolist() == list(range(20))
        assert index.find_names(pa.array(["t0000.png"])).tolist() == [0]
    assert OpenIndex(output).find_names(pa.array(["t0000.png"])).tolist() == [-1]


def test_a_looping_reader_never_fails_and_every_answer_is_of_one_state(
    tmp_path: Path, encoder: FakeEncoder
) -> None:
    output, tiles = tmp_path / "tiles.hx", tmp_path / "tiles"
    states = []
    for number in range(BUILDS + 1):
        folder = write_tiles(tiles / str(number), numbered(12), content=f"{number} {{}}")
        states.append(expected_rows(folder, numbered(12)))
    run_build(output, encoder, tiles / "0")
    problems: list[BaseException] = []

    def rebuild() -> None:
        try:
            for number in range(1, BUILDS + 1):
                run_build(output, encoder, tiles / str(number))
        except BaseException as problem:
            problems.append(problem)

    def read() -> int:
        index = OpenIndex(output)
        state = index.manifest.generation - 1
        assert indexed_rows(index) == states[state]
        vectors = index.vectors(np.arange(12)).astype(np.float32)
        assert index.structure.search(vectors, 1)[:, 0].tolist() == list(range(12))
        return state

    writer = threading.Thread(target=rebuild)
    writer.start()
    seen: list[int] = []
    while writer.is_alive() or len(seen) < READS:
        seen.append(read())
    writer.join()
    seen.append(read())
    assert problems == []
    assert seen == sorted(seen)
    assert seen[-1] == BUILDS
    assert read_manifest(output).generation == BUILDS + 1


def test_a_reader_that_meets_a_commit_between_its_steps_takes_the_newer_state(
    tiles: Path, tmp_path: Path, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "tiles.hx"
    run_build(output, encoder, tiles)
    commits = iter(range(3))

    def read_and_be_overtaken(folder: Path) -> Manifest:
        manifest = read_manifest(folder)
        if next(commits, None) is not None:
            reindex(folder)
        return manifest

    monkeypatch.setattr(opened, "read_manifest", read_and_be_overtaken)
    index = OpenIndex(output)
    assert index.manifest.generation == 4
    assert indexed_rows(index) == expected_rows(tiles, numbered(20))


def test_a_reader_that_is_always_overtaken_says_so(
    tiles: Path, tmp_path: Path, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "tiles.hx"
    run_build(output, encoder, tiles)

    def read_and_be_overtaken(folder: Path) -> Manifest:
        manifest = read_manifest(folder)
        reindex(folder)
        return manifest

    monkeypatch.setattr(opened, "read_manifest", read_and_be_overtaken)
    with pytest.raises(IndexFormatError) as caught:
        OpenIndex(output)
    assert str(caught.value) == f"{output} is being rebuilt faster than it can be opened; try again"


def test_a_reader_needs_no_lock_and_writes_nothing(
    tiles: Path, tmp_path: Path, encoder: FakeEncoder
) -> None:
    output = tmp_path / "tiles.hx"
    run_build(output, encoder, tiles)
    (output / "lock").unlink()
    before = sorted(output.rglob("*"))
    indexed_rows(OpenIndex(output))
    assert sorted(output.rglob("*")) == before
