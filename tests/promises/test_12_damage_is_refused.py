"""Promise 12: a damaged file is refused, named, with what was expected and what was found."""

import os
import random
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from histo_index.api.info import index_facts
from histo_index.errors import IndexFormatError
from histo_index.indexer.format.manifest import read_manifest
from histo_index.indexer.hashing.cache import STATES_NAME
from histo_index.indexer.reader import OpenIndex
from histo_index.indexer.writing.commit import reindex
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
from tests.promises.conftest import Tell, Tries

CHECKSUMS = "checksum [0-9a-f]{32}, expected [0-9a-f]{32}"
# Bytes of a manifest that its checksum does not cover, because they are it.
END = len(b',\n "checksum": ""\n}') + 32
# By how a file is called in the index below, the lock aside: it holds nothing.
FILES = (
    "manifest.json",
    "embeddings/part-*.parquet",
    "embeddings/part-*.json",
    "search/000001/rows.arrow",
    "search/000001/vectors.npy",
    "search/000001/blocks.npy",
    "rejected-000001.parquet",
    "encoder/config.json",
    "encoder/model.safetensors",
)
# What an answer rests on, beside the manifest.
USED = {"rows.arrow", "vectors.npy", "blocks.npy"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tiles and their index."""
    folder = tmp_path_factory.mktemp("built")
    tiles = write_tiles(folder / "tiles", numbered(300))
    write_tiles(tiles, ["bad.png"], content="broken")
    encoder = FakeEncoder(folder=folder / "fake-encoder")
    run_build(folder / "tiles.hx", encoder, tiles, shard_rows=200)
    return folder


@pytest.fixture
def index(tmp_path: Path, built: Path) -> Path:
    shutil.copytree(built, tmp_path, dirs_exist_ok=True)
    return tmp_path / "tiles.hx"


def use(folder: Path) -> None:
    """Open an index and touch every row, every vector and the structure."""
    opened = OpenIndex(folder)
    opened.vectors(np.arange(len(opened)))
    opened.rows.validate(full=True)
    opened.structure.search(np.ones((1, 16), np.float32), 3)


def require_refused(folder: Path, damaged: Path, what: str) -> None:
    """Check that verifying names the file, and that using it does so or does not need it."""
    name = re.escape(str(damaged))
    with pytest.raises(IndexFormatError, match=f"^{name}: damaged: {what}; "):
        index_facts(folder, verify=True)
    if damaged.name in USED or damaged.name == "manifest.json":
        with pytest.raises(IndexFormatError, match=f"^{name}: damaged") as caught:
            use(folder)
        assert "\n" not in str(caught.value)
    else:
        use(folder)


def test_every_file_of_an_index_is_damaged_below(index: Path) -> None:
    found = {path.relative_to(index).as_posix() for path in index.rglob("*") if path.is_file()}
    patterned = {re.sub(r"part-\w+", "part-*", name) for name in found - {"lock", STATES_NAME}}
    assert patterned == set(FILES)


@pytest.mark.parametrize("pattern", FILES)
def test_flipped_bits_are_refused_with_both_checksums(
    index: Path, pattern: str, tries: Tries, tell: Tell
) -> None:
    path = sorted(index.glob(pattern))[0]
    whole = path.read_bytes()
    count = min(tries(20, 1_000), 8 * len(whole))
    bits = random.Random(pattern).sample(range(8 * len(whole)), count - 2)
    bits += [0, 8 * len(whole) - 1]
    for bit in bits:
        flip(path, bit)
        # A manifest whose own checksum is hit may hold none to compare with.
        is_end = path.name == "manifest.json" and bit // 8 >= len(whole) - END
        require_refused(index, path, ".*" if is_end else CHECKSUMS)
        path.write_bytes(whole)
    use(index)
    index_facts(index, verify=True)
    tell(f"{len(bits)} flipped bits in {pattern}", "0 passed")


@pytest.mark.parametrize("pattern", FILES)
def test_files_cut_short_or_grown_are_refused_with_both_sizes(
    index: Path, pattern: str, tries: Tries, tell: Tell
) -> None:
    path = sorted(index.glob(pattern))[0]
    whole = path.read_bytes()
    what = ".*" if path.name == "manifest.json" else r"[\d,]+ bytes?, expected [\d,]+"
    lengths = {0, 1, len(whole) // 2, len(whole) - 1}
    count = min(tries(20, 1_000), len(whole)) - len(lengths)
    lengths |= set(random.Random(pattern).sample(range(len(whole)), count))
    for length in sorted(lengths):
        path.write_bytes(whole[:length])
        require_refused(index, path, what)
    path.write_bytes(whole + b"\n")
    require_refused(index, path, what)
    tell(f"{len(lengths)} truncations of {pattern}", "0 passed")


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
            f"{path}: missing; run `histo-index reindex` to rebuild the search files"
        )


def test_a_folder_in_place_of_a_file_is_refused_by_name(index: Path) -> None:
    path = index / "search" / "000001" / "blocks.npy"
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
    for name in ("vectors.npy", "rows.arrow", "blocks.npy"):
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


@pytest.mark.parametrize("name", ["vectors.npy", "rows.arrow"])
def test_a_file_cut_under_an_open_reader_is_one_line(index: Path, name: str) -> None:
    # To read a mapped page whose bytes are gone ends the process.
    reader, path = OpenIndex(index), index / "search" / "000001" / name
    size = path.stat().st_size
    os.truncate(path, 1)
    for ask in (
        lambda: reader.vectors(np.arange(3)),
        lambda: reader.exact.search(np.ones((1, 16), np.float32), 3),
        lambda: reader.find_names(pa.array(["x"])),
        lambda: reader.find_contents(pa.array(["x"])),
        lambda: reader.row(0),
    ):
        with pytest.raises(IndexFormatError) as caught:
            ask()
        assert str(caught.value) == (
            f"{path}: damaged: 1 byte, expected {size:,}; "
            "run `histo-index reindex` to rebuild the search files"
        )


def test_a_damaged_transform_is_refused_wherever_it_is_damaged(
    tmp_path: Path, encoder: FakeEncoder, tries: Tries, tell: Tell
) -> None:
    tiles = write_tiles(tmp_path / "tiles", numbered(120))
    index = tmp_path / "tiles.hx"
    run_build(index, encoder, tiles, distance="diffused", shard_rows=200)
    path = index / "transform-000001.npz"
    whole = path.read_bytes()
    drawn = random.Random("transform")
    flipped = drawn.sample(range(8 * len(whole)), min(tries(20, 1_000), 8 * len(whole)))
    cut = drawn.sample(range(len(whole)), min(tries(20, 1_000), len(whole)))
    for bit in flipped:
        flip(path, bit)
        message = f"^{re.escape(str(path))}: damaged: {CHECKSUMS}; "
        for read in (lambda: index_facts(index, verify=True), lambda: OpenIndex(index).transform):
            with pytest.raises(IndexFormatError, match=message):
                read()
        path.write_bytes(whole)
    for length in cut:
        path.write_bytes(whole[:length])
        message = f"^{re.escape(str(path))}: damaged: [\\d,]+ bytes?, expected [\\d,]+; "
        for open_it in (lambda: index_facts(index, verify=True), lambda: OpenIndex(index)):
            with pytest.raises(IndexFormatError, match=message):
                open_it()
    tell(f"{len(flipped)} flipped bits and {len(cut)} truncations of the transform", "0 passed")
