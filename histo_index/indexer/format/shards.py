"""Parquet shards: immutable files of embeddings with their metadata, each with a receipt.

A shard counts as finished when its receipt is there. An embedding is one value of fixed length, the
bytes of its float16 numbers: a list of numbers takes seven times as long to write and to read. The
receipt has a checksum of the whole file, so its pages have none.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from histo_index.arrays import Float16
from histo_index.errors import IndexFormatError
from histo_index.files import TEMPORARY_PREFIX, publish_bytes, publishing
from histo_index.indexer.format.checksums import (
    DamagedError,
    HashingFile,
    file_checksum,
    require_whole,
)
from histo_index.indexer.format.manifest import FORMAT_VERSION
from histo_index.indexer.format.records import FileRecord, ShardRecord, read_record
from histo_index.indexer.format.signed_json import seal, unseal


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """An input that cannot be used.

    Attributes:
        path: relative to the source root where possible.
        sha256: of its content; empty if it could not be read.
        reason: one line.
    """

    path: str
    reason: str
    sha256: str = ""


FOLDER: Final = "embeddings"
EMBEDDING: Final = "embedding"
# What the index itself writes about a tile, besides `image_id`, `path` and the user's columns.
FACTS: Final = {
    "sha256": pa.string(),
    "width": pa.int32(),
    "height": pa.int32(),
    "note": pa.string(),
}
# 16 MB of 2048-d float16: a standard reader can take part of a large shard. Smaller groups take
# longer to write: each has its own page of every column.
_ROW_GROUP: Final = 4096
# Pages that stay in a core's own cache while they are packed.
_PAGE_BYTES: Final = 2**18
_PAGE_ROWS: Final = 128
# Columns whose values do not repeat are not compressed; digests would shrink by half, slowly.
_PLAIN: Final = (EMBEDDING, "sha256")
_RECEIPT_KIND: Final = "histo-index receipt"
_REMEDY: Final = "run `histo-index build` again: only its tiles are encoded again"


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What a finished shard task did.

    Attributes:
        shard_id: the task's.
        fingerprint: of the encoder.
        max_pixels: the decoding limit, which decides what is rejected.
        rows: embeddings written.
        file: the Parquet file.
        rejected: the task's tiles that could not be used.
        runtime: what computed the embeddings; several values where several did.
    """

    shard_id: str
    fingerprint: str
    max_pixels: int
    rows: int
    file: FileRecord
    rejected: tuple[Rejection, ...]
    runtime: Mapping[str, str]

    @property
    def planned(self) -> int:
        """How many tiles the task had."""
        return self.rows + len(self.rejected)


def shard_path(folder: Path, shard_id: str) -> Path:
    """Locate a shard inside an index folder."""
    return folder / FOLDER / f"part-{shard_id}.parquet"


def receipt_path(folder: Path, shard_id: str) -> Path:
    """Locate a shard's receipt."""
    return shard_path(folder, shard_id).with_suffix(".json")


def write_shard(
    folder: Path, shard_id: str, rows: pa.Table, *embeddings: Float16
) -> FileRecord | None:
    """Publish a shard; one that is there already is kept.

    Args:
        folder: the index.
        shard_id: part of the file's name, and kept in its own metadata.
        rows: everything but the embedding, a row per tile.
        embeddings: float16 [n, D], one or several blocks, in the order of the rows.

    Returns:
        The file as it was written; None if one was there already, whatever it holds.
    """
    table = rows.append_column(EMBEDDING, pa.chunked_array([_as_bytes(b) for b in embeddings]))
    table = table.replace_schema_metadata({"histo_index": json.dumps({"shard_id": shard_id})})
    path = shard_path(folder, shard_id)
    written = write_parquet(
        path,
        table,
        first_wins=True,
        row_group_size=_ROW_GROUP,
        data_page_size=_PAGE_BYTES,
        write_batch_size=_PAGE_ROWS,
        # The receipt has a checksum of every byte.
        write_page_checksum=False,
        use_dictionary=False,
        compression=dict.fromkeys(rows.column_names, "ZSTD") | dict.fromkeys(_PLAIN, "NONE"),
        write_statistics=list(rows.column_names),
    )
    return None if written is None else record_file(folder, path, written)


def _as_bytes(embeddings: Float16) -> pa.Array:
    values = pa.py_buffer(np.ascontiguousarray(embeddings, "<f2"))
    kind = pa.binary(2 * embeddings.shape[1])
    return pa.FixedSizeBinaryArray.from_buffers(kind, len(embeddings), [None, values])


def write_parquet(
    path: Path,
    table: pa.Table,
    *,
    first_wins: bool = False,
    prefix: str = TEMPORARY_PREFIX,
    **options: Any,
) -> str | None:
    """Publish a Parquet file with checksums on its pages; see `publishing`.

    Args:
        path: its final name.
        table: what is in it.
        first_wins: keep a file that is already there.
        prefix: of the temporary name.
        options: of pyarrow's writer, instead of its defaults.

    Returns:
        The checksum of the file; None if another was there already.
    """
    import pyarrow.parquet as pq  # here, because looking up a tile needs no Parquet

    # pyarrow takes some paths for addresses (`a:b/c`), and cannot take all bytes that a path may.
    with (
        publishing(path, first_wins=first_wins, prefix=prefix) as temporary,
        open(temporary, "wb") as file,
    ):
        hashing = HashingFile(file)
        pq.write_table(table, hashing, **{"write_page_checksum": True, **options})
        written = os.fstat(file.fileno())
    return hashing.checksum() if os.path.samestat(written, path.stat()) else None


def write_receipt(path: Path, receipt: Receipt) -> None:
    """Publish a receipt: its shard is finished."""
    document = seal(_RECEIPT_KIND, asdict(receipt), version=FORMAT_VERSION)
    publish_bytes(path, document, first_wins=True)


def read_receipt(path: Path) -> Receipt:
    """Read a receipt.

    Raises:
        DamagedError: it is not as it was written.
        IndexFormatError: it cannot be read, or is of a newer version.
    """
    data = _read_bytes(path, _REMEDY)
    body = unseal(path, data, kind=_RECEIPT_KIND, newest=FORMAT_VERSION, remedy=_REMEDY)
    try:
        return read_record(Receipt, body)
    except ValueError as error:
        raise DamagedError(f"{path}: damaged: {error}; {_REMEDY}") from error


def record_shard(folder: Path, receipt: Receipt) -> ShardRecord:
    """Enter a finished shard into a manifest."""
    return ShardRecord(
        shard_id=receipt.shard_id,
        rows=receipt.rows,
        file=receipt.file,
        receipt=record_file(folder, receipt_path(folder, receipt.shard_id)),
        runtime=receipt.runtime,
    )


def record_file(folder: Path, path: Path, known: str | None = None) -> FileRecord:
    """Enter a finished file into a manifest; it is read unless its checksum is known."""
    return FileRecord(
        path=path.relative_to(folder).as_posix(),
        bytes=path.stat().st_size,
        checksum=known or file_checksum(path),
    )


def read_shard(folder: Path, record: FileRecord, *, without: str = "") -> pa.Table:
    """Read a shard, checked byte for byte.

    Args:
        folder: the index.
        record: the shard's file as it was written.
        without: a column to leave out.

    Raises:
        DamagedError: it is missing or not as it was written.
        IndexFormatError: it cannot be read.
    """
    return read_parquet(folder, record, remedy=_REMEDY, without=without)


def read_parquet(folder: Path, record: FileRecord, *, remedy: str, without: str = "") -> pa.Table:
    """Read a Parquet file of the index; see `read_shard`."""
    import pyarrow.parquet as pq  # here, because looking up a tile needs no Parquet

    path = folder / record.path
    data = _read_bytes(path, remedy)
    require_whole(path, data=data, size=record.bytes, expected=record.checksum, remedy=remedy)
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        columns = [name for name in file.schema_arrow.names if name != without]
        return file.read(columns, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:160]
        raise DamagedError(f"{path}: damaged ({reason}); {remedy}") from error


def _read_bytes(path: Path, remedy: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DamagedError(f"{path}: missing; {remedy}") from error
    except OSError as error:
        # Not damage: a network folder that stalls must not cost the file.
        raise IndexFormatError(
            f"{path}: cannot be read ({error.strerror}); check disk and permissions"
        ) from error


def embeddings_of(table: pa.Table) -> Float16:
    """Return the embeddings of a shard's table: float16 [N, D]."""
    column = table[EMBEDDING].combine_chunks()
    count, width = len(column), column.type.byte_width
    if not count:
        return np.zeros((0, width // 2), np.float16)
    start, numbers = column.offset * width, count * width // 2
    return np.frombuffer(column.buffers()[1], "<f2", numbers, start).reshape(count, -1)


def iterate_shards(folder: Path, shards: Sequence[ShardRecord]) -> Iterator[pa.Table]:
    """Read shards one after the other, in row order, each checked.

    Raises:
        IndexFormatError: one is missing or damaged.
    """
    for shard in shards:
        yield read_shard(folder, shard.file)


# What a task must know about a tile besides the user's own columns.
IDENTITY: Final = ("image_id", "path", "sha256")


def user_columns(table: pa.Table) -> list[str]:
    """Return the names of the user's own columns."""
    ours = {*IDENTITY, *FACTS, EMBEDDING}
    return [name for name in table.column_names if name not in ours]
