"""Make the search files from the shards: everything under `search/` can be deleted and made again.

* `rows.arrow`: every column but the embedding, mapped and scanned in place (Arrow IPC).
* `vectors.npy`: float16 [N, D], mapped; `blocks.npy`: a checksum per 256 rows of it, so that a
  look-up verifies what it touches and not the whole file.
* `flat.faiss`: the structure FAISS searches.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from histo_index.indexer.atomic import publishing
from histo_index.indexer.manifest import FileRecord, ShardRecord
from histo_index.indexer.shards import (
    EMBEDDING,
    Halves,
    embeddings_of,
    iterate_shards,
    record_file,
)

FOLDER: Final = "search"
# Role in the manifest to name in `search/<generation>/`.
FILE_NAMES: Final = {
    "rows": "rows.arrow",
    "vectors": "vectors.npy",
    "blocks": "blocks.npy",
    "faiss": "flat.faiss",
}
# 1 MB of 2048-d float16: hashed in 40 µs, so a pair look-up pays 0.1 ms and a full scan 4 %.
BLOCK_ROWS: Final = 256


def derive(
    folder: Path, shards: Sequence[ShardRecord], *, generation: int, size: int
) -> dict[str, FileRecord]:
    """Write the search files of a generation.

    Args:
        folder: the index.
        shards: in row order; each is checked while it is read.
        generation: names the files, because files are never changed in place.
        size: D.

    Returns:
        Role to file: `rows`, `vectors`, `blocks`, `faiss`.

    Raises:
        IndexFormatError: a shard is missing or damaged.
    """
    place = folder / FOLDER / f"{generation:06d}"
    paths = {role: place / name for role, name in FILE_NAMES.items()}
    total = sum(shard.rows for shard in shards)
    with publishing(paths["rows"]) as rows, publishing(paths["vectors"]) as vectors:
        _write_rows_and_vectors(rows, vectors, iterate_shards(folder, shards), (total, size))
    with publishing(paths["blocks"]) as temporary, open(temporary, "wb") as file:
        checksums = [block_checksum(block) for block in _blocks(paths["vectors"], (total, size))]
        np.save(file, np.array(checksums, np.uint64))
    from histo_index.indexer.faiss_flat import write_flat

    with publishing(paths["faiss"]) as temporary:
        write_flat(temporary, _blocks(paths["vectors"], (total, size)), rows=total, size=size)
    return {role: record_file(folder, path) for role, path in paths.items()}


def block_checksum(block: Halves) -> int:
    """Hash up to BLOCK_ROWS rows of the vectors: XXH3-64."""
    return xxhash.xxh3_64_intdigest(np.ascontiguousarray(block).data.cast("B"))


def _blocks(path: Path, shape: tuple[int, int]) -> Iterator[Halves]:
    """Read the vectors file block by block; mapped, it would count as this process's memory."""
    with open(path, "rb") as file:
        file.seek(len(npy_header(shape)))
        while data := file.read(BLOCK_ROWS * 2 * shape[1]):
            yield np.frombuffer(data, "<f2").reshape(-1, shape[1])


def _write_rows_and_vectors(
    rows_path: Path, vectors_path: Path, tables: Iterator[pa.Table], shape: tuple[int, int]
) -> None:
    writer: pa.RecordBatchFileWriter | None = None
    with open(vectors_path, "wb") as vectors, open(rows_path, "wb") as file:
        vectors.write(npy_header(shape))
        for table in tables:
            vectors.write(np.ascontiguousarray(embeddings_of(table)).data)
            rows = _with_stem(table.drop_columns([EMBEDDING])).replace_schema_metadata(None)
            writer = writer or pa.ipc.new_file(file, rows.schema)
            writer.write_table(rows)
        assert writer is not None, "an index has at least one shard"
        writer.close()


def file_names(paths: pa.ChunkedArray) -> pa.ChunkedArray:
    """Take the last part of each path, whatever its folders are called."""
    return pc.replace_substring_regex(paths, r"(?s)^.*/", "")


def npy_header(shape: tuple[int, int]) -> bytes:
    """Make the head of `vectors.npy`, numpy's format 1.0, always the same bytes for a shape.

    A reader compares it instead of parsing it.
    """
    text = f"{{'descr': '<f2', 'fortran_order': False, 'shape': ({shape[0]}, {shape[1]}), }}"
    length = -(-(10 + len(text) + 1) // 64) * 64 - 10
    return b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little") + f"{text:<{length - 1}}\n".encode()


def _with_stem(table: pa.Table) -> pa.Table:
    """Add the file's name without folder and suffix, by which pair lists call tiles."""
    stems = pc.replace_substring_regex(file_names(table["path"]), r"\.[^.]*$", "")
    return table.append_column("stem", stems)
