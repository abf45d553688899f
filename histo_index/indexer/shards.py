"""Parquet shards: immutable files of embeddings with their metadata, each with a receipt.

A shard counts as finished when its receipt is there. The embedding is a float16 list of fixed size,
which standard readers open as an array; page checksums are written and verified.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from histo_index.errors import IndexFormatError
from histo_index.indexer.atomic import publish_bytes, publishing
from histo_index.indexer.checksums import file_checksum, require_whole
from histo_index.indexer.manifest import FileRecord, ShardRecord
from histo_index.indexer.sources import Rejection

Halves = npt.NDArray[np.float16]

FOLDER: Final = "embeddings"
EMBEDDING: Final = "embedding"
# What the index itself writes about a tile, besides `image_id`, `path` and the user's columns.
FACTS: Final = {
    "sha256": pa.string(),
    "width": pa.int32(),
    "height": pa.int32(),
    "note": pa.string(),
}
# Rows of one page of the Parquet file: 64 embeddings of 2048 in float16 are 256 KB.
_ROW_GROUP: Final = 1024
DAMAGED_SHARD: Final = (
    "delete it and run `histo-index build` again: only its tiles are encoded anew"
)


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What a finished shard task did.

    Attributes:
        shard_id: the task's.
        fingerprint: of the encoder.
        max_pixels: the decoding limit, which decides what is rejected.
        rows: embeddings written.
        bytes: size of the Parquet file.
        checksum: of the Parquet file.
        rejected: the task's tiles that could not be used.
        runtime: what computed the embeddings.
    """

    shard_id: str
    fingerprint: str
    max_pixels: int
    rows: int
    bytes: int
    checksum: str
    rejected: tuple[Rejection, ...]
    runtime: Mapping[str, Any]

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


def write_shard(path: Path, rows: pa.Table, embeddings: Halves, *, shard_id: str) -> None:
    """Publish a shard; one that is there already is kept.

    Args:
        path: its final name.
        rows: everything but the embedding, a row per tile.
        embeddings: float16 [N, D], in the order of the rows.
        shard_id: kept in the file's own metadata.
    """
    size = embeddings.shape[1]
    flat = pa.array(np.ascontiguousarray(embeddings).reshape(-1), pa.float16())
    column = pa.FixedSizeListArray.from_arrays(flat, size)
    table = rows.append_column(EMBEDDING, column)
    table = table.replace_schema_metadata({"histo_index": json.dumps({"shard_id": shard_id})})
    with publishing(path, first_wins=True) as temporary:
        pq.write_table(
            table,
            temporary,
            row_group_size=_ROW_GROUP,
            # A dictionary of floats makes reading ten times slower; half floats do not compress.
            use_dictionary=False,
            compression=dict.fromkeys(rows.column_names, "ZSTD") | {_LEAF: "NONE"},
            write_statistics=list(rows.column_names),
            write_page_checksum=True,
        )


# Parquet's own name for the values of a list column.
_LEAF: Final = f"{EMBEDDING}.list.element"


def write_receipt(path: Path, receipt: Receipt) -> None:
    """Publish a receipt: its shard is finished."""
    text = json.dumps(asdict(receipt), ensure_ascii=False, indent=1) + "\n"
    publish_bytes(path, text.encode(), first_wins=True)


def read_receipt(path: Path) -> Receipt:
    """Read a receipt.

    Raises:
        IndexFormatError: it cannot be read or is damaged.
    """
    try:
        document = json.loads(path.read_bytes())
        rejected = tuple(Rejection(**entry) for entry in document.pop("rejected"))
        return Receipt(**document, rejected=rejected)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise IndexFormatError(f"{path}: damaged ({error}); {DAMAGED_SHARD}") from error


def record_shard(folder: Path, receipt: Receipt) -> ShardRecord:
    """Enter a finished shard into a manifest."""
    path = receipt_path(folder, receipt.shard_id)
    shard = shard_path(folder, receipt.shard_id)
    return ShardRecord(
        shard_id=receipt.shard_id,
        rows=receipt.rows,
        file=FileRecord(
            path=shard.relative_to(folder).as_posix(),
            bytes=receipt.bytes,
            checksum=receipt.checksum,
        ),
        receipt=record_file(folder, path),
        runtime=receipt.runtime,
    )


def record_file(folder: Path, path: Path) -> FileRecord:
    """Enter a finished file into a manifest."""
    return FileRecord(
        path=path.relative_to(folder).as_posix(),
        bytes=path.stat().st_size,
        checksum=file_checksum(path),
    )


def read_shard(path: Path, *, size: int, expected: str) -> pa.Table:
    """Read a whole shard, checked byte for byte.

    Args:
        path: the Parquet file.
        size: its size when it was written.
        expected: its checksum when it was written.

    Raises:
        IndexFormatError: it is missing or damaged.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise IndexFormatError(
            f"{path}: cannot be read ({error.strerror}); {DAMAGED_SHARD}"
        ) from error
    require_whole(path, data=data, size=size, expected=expected, remedy=DAMAGED_SHARD)
    try:
        return pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True).read()
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:160]
        raise IndexFormatError(f"{path}: damaged ({reason}); {DAMAGED_SHARD}") from error


def embeddings_of(table: pa.Table) -> Halves:
    """Take the embeddings out of a shard's table: float16 [N, D]."""
    column = table[EMBEDDING].combine_chunks()
    values: Halves = column.flatten().to_numpy(zero_copy_only=False)
    return values.reshape(len(column), column.type.list_size)


def iterate_shards(folder: Path, shards: Sequence[ShardRecord]) -> Iterator[pa.Table]:
    """Read shards one after the other, in row order, each checked.

    Raises:
        IndexFormatError: one is missing or damaged.
    """
    for shard in shards:
        yield read_shard(
            folder / shard.file.path, size=shard.file.bytes, expected=shard.file.checksum
        )
