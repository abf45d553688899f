"""Write the search files from the shards; everything under `search/` can be rebuilt.

* `rows.arrow`: every column but the embedding, mapped and scanned in place (Arrow IPC).
* `vectors.npy`: float16 [N, V], embeddings in the form that is compared, mapped; `blocks.npy`: a
  checksum per 256 rows of it, so that a look-up verifies what it touches and not the whole file.
* `candidates.faiss`: where there are too many tiles to compare with each, a compact structure that
  proposes which to compare with.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from histo_index.arrays import Float16
from histo_index.files import publishing
from histo_index.indexer.format.checksums import HashingFile
from histo_index.indexer.format.records import AnnStructure, FileRecord, SearchConfig, ShardRecord
from histo_index.indexer.format.shards import EMBEDDING, embeddings_of, read_shard, record_file
from histo_index.indexer.format.vector_file import (
    BLOCK_ROWS,
    FILE_NAMES,
    FOLDER,
    BlockHasher,
    file_names,
    npy_header,
)
from histo_index.indexer.nearest.choose import (
    EXACT,
    Learnt,
    choose_structure,
    extend_structure,
    make_structure,
)
from histo_index.indexer.transform.diffusion import Diffusion
from histo_index.progress import track


class ShardSource:
    """Reads rows and vectors from the shards; `reuse` has one that reads less."""

    def __init__(self, folder: Path, transform: Diffusion | None = None) -> None:
        """Read shards of an index; a transform turns embeddings into vectors, None leaves them."""
        self._folder = folder
        self._transform = transform

    def read(self, shard: ShardRecord) -> tuple[pa.Table, Float16]:
        """Return the rows of a shard as in `rows.arrow`, and its vectors: float16 [n, V].

        Raises:
            IndexFormatError: the shard is missing or damaged.
        """
        table = read_shard(self._folder, shard.file)
        vectors = embeddings_of(table)
        if self._transform is not None:
            vectors = self._transform.apply(vectors).astype(np.float16)
        return _with_stem(table.drop_columns([EMBEDDING])).replace_schema_metadata(None), vectors

    def learnt(
        self, shards: Sequence[ShardRecord], factory: str, config: SearchConfig
    ) -> Learnt | None:
        """Return an ANN index that holds the first rows of these shards; None to train one."""
        return None


def derive(
    folder: Path,
    shards: Sequence[ShardRecord],
    *,
    generation: int,
    size: int,
    source: ShardSource,
    config: SearchConfig | None = None,
) -> tuple[dict[str, FileRecord], AnnStructure | None]:
    """Write the search files of a generation.

    Args:
        folder: the index.
        shards: in row order; each is checked while it is read.
        generation: names the files, because files are never changed in place.
        size: length of a vector.
        source: where rows, vectors and maybe a structure come from.
        config: how the index is to be searched.

    Returns:
        Role to file: `rows`, `vectors`, `blocks` and maybe `candidates`; and the record of the ANN
        index, None where search is exact.

    Raises:
        IndexFormatError: a shard is missing or damaged.
        InputError: the index cannot be searched as asked.
    """
    config = config or SearchConfig()
    target = folder / FOLDER / f"{generation:06d}"
    paths = {role: target / name for role, name in FILE_NAMES.items()}
    shape = sum(shard.rows for shard in shards), size
    factory = choose_structure(*shape, config)
    with publishing(paths["rows"]) as rows, publishing(paths["vectors"]) as vectors:
        own = track(shards, "writing", unit="shards")
        checksums, blocks = _write_rows_and_vectors(rows, vectors, map(source.read, own), shape)
    with publishing(paths["blocks"]) as temporary, open(temporary, "wb") as file:
        np.save(file, blocks)
    if factory == EXACT:
        del paths["candidates"]
        structure = None
    else:
        learnt = source.learnt(shards, factory, config)
        with publishing(paths["candidates"]) as temporary:
            left = _blocks(paths["vectors"], shape, start=learnt.rows if learnt else 0)
            if learnt is not None:
                structure = extend_structure(temporary, learnt, left)
            else:
                matrix = np.memmap(paths["vectors"], "<f2", "r", len(npy_header(shape)), shape)
                structure = make_structure(temporary, matrix, left, factory, config)
    return {r: record_file(folder, path, checksums.get(r)) for r, path in paths.items()}, structure


def _blocks(path: Path, shape: tuple[int, int], *, start: int) -> Iterator[Float16]:
    """Read the vectors from a row on, block by block; mapped, they would count as our memory."""
    with open(path, "rb") as file:
        file.seek(len(npy_header(shape)) + start * 2 * shape[1])
        count = -(-(shape[0] - start) // BLOCK_ROWS)
        for _ in track(range(count), "indexing", unit="blocks"):
            data = file.read(BLOCK_ROWS * 2 * shape[1])
            yield np.frombuffer(data, "<f2").reshape(-1, shape[1])


def _write_rows_and_vectors(
    rows_path: Path,
    vectors_path: Path,
    parts: Iterator[tuple[pa.Table, Float16]],
    shape: tuple[int, int],
) -> tuple[dict[str, str], npt.NDArray[np.uint64]]:
    """Write both files; return their checksums by role, and those of the blocks of vectors."""
    writer: pa.RecordBatchFileWriter | None = None
    with open(vectors_path, "wb") as vectors_file, open(rows_path, "wb") as rows_file:
        vectors, file = HashingFile(vectors_file), HashingFile(rows_file)
        vectors.write(npy_header(shape))
        blocks = BlockHasher()
        for rows, own in parts:
            vectors.write(np.ascontiguousarray(own).data)
            blocks.add(own)
            writer = writer or pa.ipc.new_file(file, rows.schema)
            writer.write_table(rows)
        assert writer is not None, "an index has at least one shard"
        writer.close()
    return {"rows": file.checksum(), "vectors": vectors.checksum()}, blocks.finish()


def _with_stem(table: pa.Table) -> pa.Table:
    """Add the file's name without folder and suffix, by which pair lists call tiles."""
    stems = pc.replace_substring_regex(file_names(table["path"]), r"\.[^.]*$", "")
    return table.append_column("stem", stems)
