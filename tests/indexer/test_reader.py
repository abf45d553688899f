"""An open index: names, contents and vectors are found, whichever code path looks."""

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from histo_index.errors import IndexFormatError
from histo_index.indexer.format.lookup import AMBIGUOUS, MISSING
from histo_index.indexer.format.records import SearchConfig
from histo_index.indexer.format.vector_file import BLOCK_ROWS
from histo_index.indexer.reader import OpenIndex
from tests.indexer.fakes import (
    FakeEncoder,
    embedding_of,
    expected_rows,
    numbered,
    require_sound,
    run_build,
    write_tiles,
)

# Name to row, in an index of these paths; ids are given by a manifest.
PATHS = [
    "a/tile.png",  # 0, id "seven"
    "b/tile.png",  # 1, id "b/other.png"
    "b/other.png",  # 2, id "tile"
    "deep.dir/x.tif",  # 3, id "3"
    "deep.dir/x.png",  # 4, id "4"
    "dir\nline/lone.jpg",  # 5, id "5"
    "noext",  # 6, id "6"
    "c/noext",  # 7, id "lone.jpg"
]
IDS = ["seven", "b/other.png", "tile", "3", "4", "5", "6", "lone.jpg"]
NAMES = {
    "seven": 0,
    "a/tile.png": 0,
    # An image id comes before a path, and both before a file name.
    "b/other.png": 1,
    "b/tile.png": 1,
    "tile": 2,
    "other.png": 2,
    "other": 2,
    "lone.jpg": 7,
    "lone": 5,
    "dir\nline/lone.jpg": 5,
    # A file name fits two, a stem fits two; a file name comes before a stem.
    "tile.png": AMBIGUOUS,
    "x": AMBIGUOUS,
    "x.tif": 3,
    "x.png": 4,
    "noext": 6,
    "c/noext": 7,
    "": MISSING,
    "png": MISSING,
    "missing.png": MISSING,
    "TILE": MISSING,
    "a/other.png": MISSING,
    ".": MISSING,
}


@pytest.fixture
def named(tmp_path: Path, encoder: FakeEncoder) -> OpenIndex:
    tiles = write_tiles(tmp_path / "named", PATHS)
    listed = tmp_path / "list.csv"
    rows = [f'{image_id},"{path}"\n' for image_id, path in zip(IDS, PATHS, strict=True)]
    listed.write_text("image_id,path\n" + "".join(rows))
    run_build(tmp_path / "named.hx", encoder, tiles, manifest=listed, shard_rows=3)
    return OpenIndex(tmp_path / "named.hx")


@pytest.mark.parametrize("count", [1, 8, 9, 100])
def test_names_are_found_alike_one_by_one_and_many_at_once(named: OpenIndex, count: int) -> None:
    names = (list(NAMES) * 5)[:100]
    found: list[int] = []
    for start in range(0, len(names), count):
        found += named.find_names(pa.array(names[start : start + count], pa.string())).tolist()
    assert found == [NAMES[name] for name in names]


def test_no_names_return_no_rows(named: OpenIndex) -> None:
    found = named.find_names(pa.array([], pa.string()))
    assert found.tolist() == []
    assert found.dtype == np.int64
    assert named.find_contents(pa.array([], pa.string())).tolist() == []


def test_contents_are_found_by_hash_the_first_of_equals(
    tmp_path: Path, encoder: FakeEncoder
) -> None:
    tiles = write_tiles(tmp_path / "some", numbered(20))
    (tiles / "t0015.png").write_bytes((tiles / "t0003.png").read_bytes())
    run_build(tmp_path / "x.hx", encoder, tiles)
    index = OpenIndex(tmp_path / "x.hx")
    digests = index.rows["sha256"].to_pylist()
    expected = [*range(15), 3, *range(16, 20), MISSING, MISSING]
    wanted = [*digests, "", "0" * 64]
    assert index.find_contents(pa.array(wanted)).tolist() == expected
    one_by_one = [int(index.find_contents(pa.array([digest]))[0]) for digest in wanted]
    assert one_by_one == expected


def test_row_holds_hash_size_and_columns_of_a_tile(tmp_path: Path, encoder: FakeEncoder) -> None:
    tiles = write_tiles(tmp_path / "some", numbered(2))
    (tmp_path / "list.csv").write_text("path,label,n\nt0001.png,x,5\n")
    run_build(tmp_path / "x.hx", encoder, tiles, manifest=tmp_path / "list.csv")
    index = OpenIndex(tmp_path / "x.hx")
    data = (tiles / "t0001.png").read_bytes()
    assert index.row(0) == {
        "image_id": "t0001.png",
        "path": "t0001.png",
        "sha256": expected_rows(tiles, ["t0001.png"])["t0001.png"][1],
        "width": len(data),
        "height": data[0],
        "note": None,
        "label": "x",
        "n": 5,
    }
    assert len(index) == 1


@pytest.mark.parametrize("count", [1, BLOCK_ROWS - 1, BLOCK_ROWS, 2 * BLOCK_ROWS + 1])
def test_vectors_are_those_of_the_shards_below_and_above_a_block(
    tmp_path: Path, encoder: FakeEncoder, count: int
) -> None:
    tiles = write_tiles(tmp_path / "some", numbered(count))
    run_build(tmp_path / "x.hx", encoder, tiles, shard_rows=100)
    require_sound(tmp_path / "x.hx", expected_rows(tiles, numbered(count)))
    index = OpenIndex(tmp_path / "x.hx")
    expected = np.stack([embedding_of((tiles / name).read_bytes()) for name in numbered(count)])
    rows = np.random.default_rng(0).integers(0, count, 500)
    found = index.vectors(rows)
    np.testing.assert_array_equal(found, expected.astype(np.float16)[rows], strict=True)
    np.testing.assert_array_equal(index.matrix, expected.astype(np.float16), strict=True)
    assert index.vectors(np.array([], np.int64)).shape == (0, 16)


def test_the_structure_finds_exactly_the_nearest_by_brute_force(
    tmp_path: Path, encoder: FakeEncoder
) -> None:
    count, k = 700, 10
    tiles = write_tiles(tmp_path / "some", numbered(count))
    run_build(tmp_path / "x.hx", encoder, tiles, shard_rows=100)
    index = OpenIndex(tmp_path / "x.hx")
    rows = np.arange(0, count, 7)
    found = index.structure.search(index.vectors(rows).astype(np.float32), k)
    np.testing.assert_array_equal(found, brute_force(index.vectors(np.arange(count)), rows, k))
    more = index.structure.search(index.vectors(rows[:1]).astype(np.float32), count + 5)
    assert sorted(more[0].tolist()) == [-1] * 5 + list(range(count))


def brute_force(
    vectors: npt.NDArray[np.float16], rows: npt.NDArray[np.int64], k: int
) -> npt.NDArray[np.int64]:
    exact = vectors.astype(np.float64)
    gaps = ((exact[rows, None, :] - exact[None, :, :]) ** 2).sum(axis=2)
    return np.argsort(gaps, axis=1, kind="stable")[:, :k]


def test_a_structure_that_was_cut_is_refused_and_not_read(
    tmp_path: Path, encoder: FakeEncoder
) -> None:
    tiles = write_tiles(tmp_path / "some", numbered(300))
    run_build(tmp_path / "x.hx", encoder, tiles, search=SearchConfig(structure="IVF4,SQ8"))
    index = OpenIndex(tmp_path / "x.hx")
    query = np.ones((1, 16), np.float32)
    assert index.structure.search(query, 3).shape[0] == 1
    path = tmp_path / "x.hx" / "search" / "000001" / "candidates.faiss"
    os.truncate(path, 100)
    with pytest.raises(IndexFormatError, match=r"candidates\.faiss: damaged: 100 bytes, expected"):
        _ = index.structure
