"""Rows of whole sources become shards; of a source that fails, nothing is left."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from histo_index.errors import InputError
from histo_index.indexer.declared.build import build_from_embeddings
from histo_index.indexer.declared.encoder import DeclaredRuntime
from histo_index.indexer.declared.given import DeclaredConfig, GivenEmbeddings
from histo_index.indexer.declared.shard_writer import GivenRows, ShardWriter, choose_shard_rows
from histo_index.indexer.format.shards import FOLDER, Receipt, read_shard
from histo_index.indexer.reader import OpenIndex
from histo_index.indexer.writing.commit import read_rejected
from tests.vectors import unit_vectors


def rows(start: int, count: int) -> GivenRows:
    ids = pa.array([f"t{n}" for n in range(start, start + count)], pa.string())
    embeddings = unit_vectors(start + count, 4)[start:].astype(np.float16)
    return GivenRows(tiles=pa.table({"image_id": ids, "path": ids}), embeddings=embeddings)


def write(
    folder: Path, finished: dict[str, Receipt] | None = None, *, last: bool = True
) -> list[Receipt]:
    """Write sources of 3, 25 and 4 rows; the second fails in the end."""
    encode = DeclaredRuntime("any", size=4, folder=folder / "encoder")
    with closing(ShardWriter(folder, encode, finished or {}, shard_rows=10)) as writer:
        writer.add(rows(0, 3))
        writer.keep()
        for start in range(100, 125, 5):
            writer.add(rows(start, 5))
        writer.drop()
        if last:
            writer.add(rows(3, 4))
            writer.keep()
        return writer.finish()


def test_shards_hold_whole_sources_only(tmp_path: Path) -> None:
    receipts = write(tmp_path)
    assert [receipt.rows for receipt in receipts] == [3, 4]
    stored = [read_shard(tmp_path, receipt.file)["image_id"].to_pylist() for receipt in receipts]
    assert stored == [["t0", "t1", "t2"], ["t3", "t4", "t5", "t6"]]
    assert len(list((tmp_path / FOLDER).iterdir())) == 4  # and a receipt each


def test_finished_shards_are_not_written_again(tmp_path: Path) -> None:
    (first,) = write(tmp_path, last=False)
    path = tmp_path / first.file.path
    before = path.stat().st_mtime_ns, path.stat().st_ino
    receipts = write(tmp_path, {first.shard_id: first})
    assert receipts[0] == first
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before


def test_a_failed_source_takes_no_shard_that_was_there_before(tmp_path: Path) -> None:
    encode = DeclaredRuntime("any", size=4, folder=tmp_path / "encoder")
    with closing(ShardWriter(tmp_path, encode, {}, shard_rows=10)) as writer:
        writer.add(rows(0, 10))
        writer.keep()
        (before,) = writer.finish()
    with closing(ShardWriter(tmp_path, encode, {before.shard_id: before}, shard_rows=10)) as writer:
        for start in (0, 10):
            writer.add(rows(start, 10))
        writer.drop()
        assert writer.finish() == []
    assert read_shard(tmp_path, before.file).num_rows == 10
    assert sorted(path.suffix for path in (tmp_path / FOLDER).iterdir()) == [".json", ".parquet"]


def test_a_large_source_is_cut_and_small_ones_are_joined(tmp_path: Path) -> None:
    encode = DeclaredRuntime("any", size=4, folder=tmp_path / "encoder")
    with closing(ShardWriter(tmp_path, encode, {}, shard_rows=10)) as writer:
        for start, count in ((0, 4), (4, 4), (8, 27)):
            writer.add(rows(start, count))
            writer.keep()
        receipts = writer.finish()
    assert [receipt.rows for receipt in receipts] == [8, 10, 10, 7]
    stored = [n for r in receipts for n in read_shard(tmp_path, r.file)["image_id"].to_pylist()]
    assert stored == [f"t{n}" for n in range(35)]


@pytest.mark.parametrize(("size", "expected"), [(1024, 16_384), (65_536, 1024), (2, 65_536)])
def test_a_shard_takes_32_megabytes(size: int, expected: int) -> None:
    assert choose_shard_rows(size) == expected


@dataclass(frozen=True, kw_only=True)
class Source:
    name: str
    start: int
    fails: bool = False

    def blocks(self) -> Iterator[GivenRows]:
        yield rows(self.start, 3)
        if self.fails:
            raise InputError(f"{self.name}: cut off after row 2")


def test_a_source_that_fails_is_rejected_and_the_others_are_built(tmp_path: Path) -> None:
    sources = [Source(name="a", start=0), Source(name="b", start=3, fails=True)]
    given = GivenEmbeddings(encoder="any", size=4, sources=sources)
    manifest = build_from_embeddings(DeclaredConfig(output=tmp_path / "x.hx"), given)
    assert OpenIndex(tmp_path / "x.hx").rows["image_id"].to_pylist() == ["t0", "t1", "t2"]
    (rejected,) = read_rejected(tmp_path / "x.hx", manifest)
    assert (rejected.path, rejected.reason) == ("b", "cut off after row 2")
    nothing = GivenEmbeddings(encoder="any", size=4, sources=sources[1:])
    with pytest.raises(InputError) as caught:
        build_from_embeddings(DeclaredConfig(output=tmp_path / "y.hx"), nothing)
    assert str(caught.value) == "no embedding can be used; the first: b: cut off after row 2"
    assert not (tmp_path / "y.hx").exists()


def test_what_a_killed_import_left_is_removed_by_the_next(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    left = [tmp_path / "lock", tmp_path / FOLDER / ".tmp-0a-part-1.parquet"]
    for path in left:
        path.touch()
    given = GivenEmbeddings(encoder="any", size=4, sources=[Source(name="a", start=0)])
    build_from_embeddings(DeclaredConfig(output=tmp_path), given)
    assert [path.exists() for path in left] == [True, False]
