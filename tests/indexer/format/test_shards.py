"""Shards and receipts: what is written comes back, and damage never reads as data."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from histo_index.errors import IndexFormatError
from histo_index.indexer.format.checksums import DamagedError, checksum
from histo_index.indexer.format.manifest import FORMAT_VERSION
from histo_index.indexer.format.records import FileRecord
from histo_index.indexer.format.shards import (
    Receipt,
    Rejection,
    embeddings_of,
    read_receipt,
    read_shard,
    receipt_path,
    record_file,
    record_shard,
    shard_path,
    write_parquet,
    write_receipt,
    write_shard,
)
from histo_index.indexer.format.signed_json import seal
from tests.indexer.fakes import files_of, flip

HALVES = np.random.default_rng(0).standard_normal((30, 16)).astype(np.float16)
ROWS = pa.table({"image_id": [f"i{n}" for n in range(30)], "note": [None, "x"] * 15})


def write(folder: Path, *, shard_id: str = "a") -> FileRecord:
    write_shard(folder, shard_id, ROWS, HALVES)
    return record_file(folder, shard_path(folder, shard_id))


def receipt_for(folder: Path, record: FileRecord) -> Receipt:
    receipt = Receipt(
        shard_id="a",
        fingerprint="f",
        max_pixels=10,
        rows=30,
        file=record,
        rejected=(Rejection(path="caf\\udce9", sha256="s", reason="not\nan image"),),
        runtime={"name": "fake"},
    )
    write_receipt(receipt_path(folder, "a"), receipt)
    return receipt


def test_a_shard_reads_back_bit_for_bit(tmp_path: Path) -> None:
    table = read_shard(tmp_path, write(tmp_path))
    np.testing.assert_array_equal(embeddings_of(table), HALVES)
    assert table.drop_columns(["embedding"]).replace_schema_metadata(None).equals(ROWS)
    assert table.schema.metadata == {b"histo_index": b'{"shard_id": "a"}'}
    assert list(files_of(tmp_path)) == ["embeddings/part-a.parquet"]


def test_every_bit_pattern_of_a_half_survives(tmp_path: Path) -> None:
    halves = np.arange(65536, dtype=np.uint16).view(np.float16).reshape(-1, 16)
    rows = pa.table({"image_id": [str(n) for n in range(len(halves))]})
    write_shard(tmp_path, "b", rows, halves)
    table = read_shard(tmp_path, record_file(tmp_path, shard_path(tmp_path, "b")))
    np.testing.assert_array_equal(
        embeddings_of(table).view(np.uint16), halves.view(np.uint16), strict=True
    )


def test_a_shard_without_rows_reads_back(tmp_path: Path) -> None:
    write_shard(tmp_path, "e", ROWS.slice(0, 0), HALVES[:0])
    table = read_shard(tmp_path, record_file(tmp_path, shard_path(tmp_path, "e")))
    assert (len(table), embeddings_of(table).shape) == (0, (0, 16))


def test_the_first_shard_published_wins(tmp_path: Path) -> None:
    record = write(tmp_path)
    write_shard(tmp_path, "a", ROWS, HALVES + 1)
    assert record_file(tmp_path, shard_path(tmp_path, "a")) == record


def test_a_shard_is_hashed_while_it_is_written(tmp_path: Path) -> None:
    written = write_shard(tmp_path, "a", ROWS, HALVES[:10], HALVES[10:])
    assert written == record_file(tmp_path, shard_path(tmp_path, "a"))
    assert write_shard(tmp_path, "a", ROWS, HALVES + 1) is None


def test_pages_of_a_file_without_a_receipt_have_checksums(tmp_path: Path) -> None:
    path = tmp_path / "states.parquet"
    written = write_parquet(path, ROWS, use_dictionary=False, compression="NONE")
    assert written == checksum(path.read_bytes())
    flip(path, 8 * path.read_bytes().index(b"i17"))
    with pytest.raises(OSError, match="CRC"):
        pq.read_table(path, page_checksum_verification=True)


def test_any_flip_or_truncation_of_a_shard_is_refused_by_name(tmp_path: Path) -> None:
    record = write(tmp_path)
    path = tmp_path / record.path
    whole = path.read_bytes()
    for bit in np.random.default_rng(1).integers(0, 8 * len(whole), 100).tolist():
        flip(path, bit)
        with pytest.raises(DamagedError) as caught:
            read_shard(tmp_path, record)
        found = checksum(path.read_bytes())
        assert str(caught.value) == (
            f"{path}: damaged: checksum {found}, expected {record.checksum}; "
            "run `histo-index build` again: only its tiles are encoded again"
        )
        path.write_bytes(whole)
    for length in (0, 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedError, match=f"damaged: {length:,} bytes?, expected "):
            read_shard(tmp_path, record)
    path.unlink()
    with pytest.raises(DamagedError, match=r"part-a\.parquet: missing; "):
        read_shard(tmp_path, record)


def test_a_file_that_was_never_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(DamagedError, match=r"x\.parquet: damaged \("):
        read_shard(tmp_path, record_file(tmp_path, path))


def test_unreadable_file_is_not_called_damaged(tmp_path: Path) -> None:
    record = write(tmp_path)
    path = tmp_path / record.path
    path.unlink()
    path.mkdir()
    for read in (lambda: read_shard(tmp_path, record), lambda: read_receipt(path)):
        with pytest.raises(IndexFormatError) as caught:
            read()
        assert not isinstance(caught.value, DamagedError)
        assert str(caught.value) == (
            f"{path}: cannot be read (Is a directory); check disk and permissions"
        )


def test_a_receipt_reads_back_and_is_entered_in_the_manifest(tmp_path: Path) -> None:
    record = write(tmp_path)
    receipt = receipt_for(tmp_path, record)
    assert read_receipt(tmp_path / "embeddings" / "part-a.json") == receipt
    assert receipt.planned == 31
    entry = record_shard(tmp_path, receipt)
    assert (entry.shard_id, entry.rows, entry.file) == ("a", 30, record)
    data = (tmp_path / "embeddings" / "part-a.json").read_bytes()
    assert entry.receipt == FileRecord(
        path="embeddings/part-a.json", bytes=len(data), checksum=checksum(data)
    )


def test_a_damaged_receipt_is_damaged_and_a_newer_one_is_newer(tmp_path: Path) -> None:
    receipt_for(tmp_path, write(tmp_path))
    path = receipt_path(tmp_path, "a")
    whole = path.read_bytes()
    for bit in range(0, 8 * len(whole), 17):
        flip(path, bit)
        with pytest.raises(DamagedError, match=r"part-a\.json: damaged: "):
            read_receipt(path)
        path.write_bytes(whole)
    path.write_bytes(seal("histo-index receipt", {"rows": "many"}, version=FORMAT_VERSION + 1))
    with pytest.raises(IndexFormatError, match=r"upgrade histo-index$") as caught:
        read_receipt(path)
    assert not isinstance(caught.value, DamagedError)
