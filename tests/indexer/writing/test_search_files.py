"""The search files hold the same numbers as the shards, in forms that others can read."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import xxhash

from histo_index.errors import IndexFormatError
from histo_index.indexer.format.manifest import read_manifest
from histo_index.indexer.format.vector_file import (
    BLOCK_ROWS,
    FILE_NAMES,
    BlockHasher,
    block_checksum,
    file_names,
    npy_header,
)
from histo_index.indexer.writing.search_files import ShardSource, derive
from tests.indexer.fakes import FakeEncoder, embedding_of, files_of, numbered, run_build


@pytest.mark.parametrize("shape", [(1, 8), (255, 16), (10**9, 2048), (10**12, 99999)])
def test_numpy_reads_our_header(tmp_path: Path, shape: tuple[int, int]) -> None:
    header = npy_header(shape)
    assert len(header) % 64 == 0
    path = tmp_path / "x.npy"
    with open(path, "wb") as file:
        file.write(header)
        file.truncate(len(header) + 2 * shape[0] * shape[1] if shape[0] < 1000 else len(header))
    with open(path, "rb") as file:
        assert np.lib.format.read_magic(file) == (1, 0)
        assert np.lib.format.read_array_header_1_0(file) == (shape, False, np.dtype("<f2"))
        assert file.tell() == len(header)
    if shape[0] < 1000:
        assert np.load(path).shape == shape


def test_search_files_are_made_of_the_shards(
    tiles: Path, tmp_path: Path, encoder: FakeEncoder
) -> None:
    output = tmp_path / "tiles.hx"
    run_build(output, encoder, tiles)
    manifest = read_manifest(output)
    derived = output / "search" / "000001"
    expected = np.stack([embedding_of((tiles / name).read_bytes()) for name in numbered(20)])
    np.testing.assert_array_equal(
        np.load(derived / "vectors.npy"), expected.astype(np.float16), strict=True
    )
    blocks = np.load(derived / "blocks.npy")
    assert blocks.tolist() == [xxhash.xxh3_64_intdigest(expected.astype(np.float16).tobytes())]
    rows = pa.ipc.open_file(derived / "rows.arrow").read_all()
    assert rows.column_names == [
        "image_id", "path", "sha256", "width", "height", "note", "stem",
    ]  # fmt: skip
    assert rows["stem"].to_pylist() == [name.removesuffix(".png") for name in numbered(20)]
    records, structure = derive(
        output, manifest.shards, generation=7, size=16, source=ShardSource(output)
    )
    assert structure is None
    names = {role: name for role, name in FILE_NAMES.items() if role != "candidates"}
    assert {role: record.path for role, record in records.items()} == {
        role: f"search/000007/{name}" for role, name in names.items()
    }
    for role, name in names.items():
        again = files_of(output)[f"search/000007/{name}"]
        assert again == (derived / name).read_bytes()
        assert records[role].checksum == manifest.files[role].checksum


def test_a_damaged_shard_stops_deriving(tiles: Path, tmp_path: Path, encoder: FakeEncoder) -> None:
    output = tmp_path / "tiles.hx"
    run_build(output, encoder, tiles)
    shards = read_manifest(output).shards
    (output / shards[1].file.path).write_bytes(b"x")
    with pytest.raises(IndexFormatError, match=f"part-{shards[1].shard_id}"):
        derive(output, shards, generation=2, size=16, source=ShardSource(output))
    assert not any((output / "search" / "000002").iterdir())


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a.png", "a.png"),
        ("a/b.c/d.png", "d.png"),
        ("new\nline/a.png", "a.png"),
        ("a/new\nline.png", "new\nline.png"),
        ("a/b", "b"),
    ],
)
def test_file_name_is_the_last_part_of_the_path(path: str, name: str) -> None:
    assert file_names(pa.chunked_array([[path]])).to_pylist() == [name]


@pytest.mark.parametrize("rows", [1, 2 * BLOCK_ROWS, 3 * BLOCK_ROWS + 7])
def test_blocks_are_hashed_whatever_parts_the_vectors_come_in(rows: int) -> None:
    values = np.arange(4 * rows).astype(np.float16).reshape(-1, 4)
    expected = [
        block_checksum(values[start : start + BLOCK_ROWS]) for start in range(0, rows, BLOCK_ROWS)
    ]
    for step in (1, 100, BLOCK_ROWS, rows):
        hasher = BlockHasher()
        for start in range(0, rows, step):
            hasher.add(values[start : start + step])
        assert hasher.finish().tolist() == expected


def test_a_block_is_hashed_by_its_values_wherever_they_lie() -> None:
    values = np.arange(4 * BLOCK_ROWS, dtype=np.float16).reshape(-1, 4)
    assert block_checksum(values) == xxhash.xxh3_64_intdigest(values.tobytes())
    assert block_checksum(np.asfortranarray(values)) == block_checksum(values)
