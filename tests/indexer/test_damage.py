"""Whatever is flipped, cut or missing in an index is refused by name, and nothing answers wrong."""

import random
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from histo_index.errors import IndexFormatError
from histo_index.indexer.commit import reindex
from histo_index.indexer.manifest import read_manifest
from histo_index.indexer.opened import OpenIndex
from histo_index.inspection import diagnose, index_facts
from tests.indexer.fakes import (
    FakeEncoder,
    expected_rows,
    flip,
    indexed_rows,
    numbered,
    require_sound,
    run_build,
    write_tiles,
)

FLIPS = 25
# By how a file is called in the index below, the lock aside: it holds nothing.
FILES = (
    "manifest.json",
    "embeddings/part-*.parquet",
    "embeddings/part-*.json",
    "search/000001/rows.arrow",
    "search/000001/vectors.npy",
    "search/000001/blocks.npy",
    "search/000001/flat.faiss",
    "rejected-000001.parquet",
    "encoder/config.json",
    "encoder/model.safetensors",
)
# What an answer rests on, beside the manifest.
USED = {"rows.arrow", "vectors.npy", "blocks.npy", "flat.faiss"}


@pytest.fixture
def index(tmp_path: Path, encoder: FakeEncoder) -> Path:
    tiles = write_tiles(tmp_path / "tiles", numbered(300))
    write_tiles(tiles, ["bad.png"], content="broken")
    run_build(tmp_path / "tiles.hx", encoder, tiles, shard_rows=200)
    return tmp_path / "tiles.hx"


def use(folder: Path) -> None:
    """Open an index and touch every row, every vector and the structure."""
    opened = OpenIndex(folder)
    opened.vectors(np.arange(len(opened)))
    opened.rows.validate(full=True)
    opened.structure.search(np.ones((1, 16), np.float32), 3)


def require_refused(folder: Path, damaged: Path) -> None:
    """Check that verifying names the file, and that using it does so or does not need it."""
    name = re.escape(str(damaged))
    with pytest.raises(IndexFormatError, match=f"{name}: (damaged|missing|cannot be read)"):
        index_facts(folder, verify=True)
    if damaged.name in USED or damaged.name == "manifest.json":
        with pytest.raises(IndexFormatError, match=f"{name}: (damaged|missing)") as caught:
            use(folder)
        assert "\n" not in str(caught.value)
    else:
        use(folder)


def test_every_file_of_an_index_is_damaged_below(index: Path) -> None:
    found = {path.relative_to(index).as_posix() for path in index.rglob("*") if path.is_file()}
    patterned = {re.sub(r"part-\w+", "part-*", name) for name in found - {"lock"}}
    assert patterned == set(FILES)


@pytest.mark.parametrize("pattern", FILES)
def test_flipped_bits_are_refused_by_name(index: Path, pattern: str) -> None:
    path = sorted(index.glob(pattern))[0]
    whole = path.read_bytes()
    bits = [0, 8 * len(whole) - 1]
    bits += random.Random(pattern).sample(range(8 * len(whole)), FLIPS - 2)
    for bit in bits:
        flip(path, bit)
        require_refused(index, path)
        path.write_bytes(whole)
    use(index)
    index_facts(index, verify=True)


@pytest.mark.parametrize("pattern", FILES)
def test_files_cut_short_or_grown_are_refused_by_name(index: Path, pattern: str) -> None:
    path = sorted(index.glob(pattern))[0]
    whole = path.read_bytes()
    lengths = {0, 1, len(whole) // 2, len(whole) - 64, len(whole) - 1}
    for length in sorted(length for length in lengths if 0 <= length < len(whole)):
        path.write_bytes(whole[:length])
        require_refused(index, path)
    path.write_bytes(whole + b"\n")
    require_refused(index, path)


@pytest.mark.parametrize("pattern", FILES[1:])
def test_missing_files_are_named(index: Path, pattern: str) -> None:
    path = sorted(index.glob(pattern))[0]
    path.unlink()
    with pytest.raises(
        IndexFormatError, match=f"{re.escape(str(path))}: cannot be read \\(No such file"
    ):
        index_facts(index, verify=False)
    if path.name in USED:
        with pytest.raises(IndexFormatError) as caught:
            OpenIndex(index)
        assert str(caught.value) == (
            f"{path}: missing; run `histo-index reindex` to make the search files anew"
        )


def test_a_folder_in_place_of_a_file_is_refused_by_name(index: Path) -> None:
    path = index / "search" / "000001" / "flat.faiss"
    path.unlink()
    path.mkdir()
    with pytest.raises(IndexFormatError) as caught:
        OpenIndex(index)
    assert str(caught.value).startswith(f"{path}: cannot be read (Is a directory); ")


def test_damage_is_found_where_a_row_is_looked_at_and_nowhere_else(index: Path) -> None:
    path = index / "search" / "000001" / "vectors.npy"
    # Row 299 lies in the second block of 256.
    flip(path, 8 * (path.stat().st_size - 1))
    opened = OpenIndex(index)
    assert opened.vectors(np.array([0, 255])).shape == (2, 16)
    for _ in range(2):
        with pytest.raises(IndexFormatError) as caught:
            opened.vectors(np.array([3, 299]))
        assert str(caught.value).startswith(f"{path}: damaged at row 256: checksum ")
    with pytest.raises(IndexFormatError):
        opened.vectors(np.array([256]))


def test_files_of_two_indexes_do_not_mix(index: Path, tmp_path: Path, encoder: FakeEncoder) -> None:
    tiles = write_tiles(tmp_path / "other", numbered(300), content="other {}")
    other = tmp_path / "other.hx"
    run_build(other, encoder, tiles, shard_rows=200)
    for name in ("vectors.npy", "rows.arrow", "blocks.npy", "flat.faiss"):
        path = index / "search" / "000001" / name
        whole = path.read_bytes()
        shutil.copy(other / "search" / "000001" / name, path)
        with pytest.raises(IndexFormatError, match=f"{re.escape(str(path))}: damaged"):
            use(index)
        path.write_bytes(whole)
    use(index)


def test_damaged_search_files_are_mended_from_the_shards(index: Path, tmp_path: Path) -> None:
    expected = expected_rows(tmp_path / "tiles", numbered(300))
    for name in sorted(USED):
        flip(index / read_manifest(index).files["vectors"].path, 8 * 200)
        flip(next(index.glob(f"search/*/{name}")), 8 * 100)
        reindex(index)
        require_sound(index, expected)
    assert indexed_rows(OpenIndex(index)) == expected


def test_several_damaged_files_are_told_on_one_line(index: Path) -> None:
    for name in ("vectors.npy", "flat.faiss"):
        (index / "search" / "000001" / name).write_bytes(b"x")
    (index / "encoder" / "config.json").write_bytes(b"x")
    with pytest.raises(IndexFormatError) as caught:
        index_facts(index, verify=False)
    assert str(caught.value).startswith(f"3 files are damaged; the first: {index}/")
    assert "\n" not in str(caught.value)


def test_the_remedy_for_an_encoder_file_names_what_the_build_then_needs(
    index: Path, tmp_path: Path, encoder: FakeEncoder
) -> None:
    flip(index / "encoder" / "model.safetensors", 0)
    with pytest.raises(IndexFormatError) as caught:
        index_facts(index, verify=True)
    assert str(caught.value).endswith(
        "; restore it, or run `histo-index build` again with --encoder DIR"
    )
    run_build(index, encoder, tmp_path / "tiles")
    index_facts(index, verify=True)


def test_the_names_of_facts_have_no_spaces(index: Path) -> None:
    assert not [
        name for name in (*index_facts(index, verify=False), *diagnose().facts) if " " in name
    ]
