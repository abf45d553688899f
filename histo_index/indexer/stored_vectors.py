"""The files of one generation of an index, and its vectors, verified block by block."""

import io
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from histo_index.arrays import Float16, Int64
from histo_index.errors import IndexFormatError
from histo_index.indexer.format.checksums import MappedFile, require_whole
from histo_index.indexer.format.manifest import (
    REMOVED,
    REMOVED_REMEDY,
    TRANSFORM,
    Manifest,
    read_manifest,
)
from histo_index.indexer.format.records import FileRecord
from histo_index.indexer.format.vector_file import (
    BLOCK_ROWS,
    FILE_NAMES,
    block_checksum,
    npy_header,
)
from histo_index.indexer.transform.transform import remedy_of

REMEDY: Final = "run `histo-index reindex` to rebuild the search files"
# How often a reader may meet a writer that commits between two of its steps.
_ATTEMPTS: Final = 20


class StoredVectors:
    """The vectors of an index, mapped.

    Attributes:
        matrix: float16 [N, V]; call `verify` for the rows you touch.
    """

    def __init__(self, manifest: Manifest, files: dict[str, MappedFile]) -> None:
        """Map the vectors and read their checksums.

        Raises:
            IndexFormatError: a file is damaged.
        """
        self._file = files["vectors"]
        self.matrix = _map_vectors(self._file, (manifest.rows, manifest.vector_size))
        self._blocks = _read_blocks(files["blocks"], manifest.files["blocks"])
        self._is_verified = np.zeros(len(self._blocks), bool)

    def verify(self, rows: Int64) -> None:
        """Check the blocks that these rows lie in, each once.

        Raises:
            IndexFormatError: one is not as it was written, or the file was cut meanwhile.
        """
        self._file.require_size()
        blocks = rows // BLOCK_ROWS
        is_verified = self._is_verified[blocks]
        if is_verified.all():
            return
        for block in sorted(set(blocks[~is_verified].tolist())):
            start = block * BLOCK_ROWS
            found = block_checksum(self.matrix[start : start + BLOCK_ROWS])
            if found != int(self._blocks[block]):
                raise IndexFormatError(
                    f"{self._file.path}: damaged at row {start}: checksum "
                    f"{found:016x}, expected {int(self._blocks[block]):016x}; {REMEDY}"
                )
            self._is_verified[block] = True


def open_files(folder: Path) -> tuple[Manifest, dict[str, MappedFile]]:
    """Open the files of the newest generation, again if a writer replaced it meanwhile.

    Raises:
        IndexFormatError: the index is missing, damaged, or too new.
    """
    manifest = read_manifest(folder)
    for _ in range(_ATTEMPTS):
        try:
            special = {REMOVED: REMOVED_REMEDY, TRANSFORM: remedy_of(manifest.distance_kind)}
            files = {}
            for role, record in manifest.files.items():
                if role in FILE_NAMES or role in special:
                    remedy = special.get(role, REMEDY)
                    path = folder / record.path
                    files[role] = MappedFile(path, size=record.bytes, remedy=remedy)
            return manifest, files
        except FileNotFoundError as error:
            newer = read_manifest(folder)
            if newer == manifest:
                raise IndexFormatError(f"{error.filename}: missing; {remedy}") from error
            manifest = newer
        except OSError as error:
            raise IndexFormatError(
                f"{error.filename}: cannot be read ({error.strerror}); "
                "check the disk, permissions and limits, or " + remedy
            ) from error
    raise IndexFormatError(f"{folder} is being rebuilt faster than it can be opened; try again")


def require_record(file: MappedFile, record: FileRecord) -> None:
    """Refuse a file that is not as it was written.

    Raises:
        DamagedError: it has other bytes than its record says.
    """
    require_whole(
        file.path, data=file.data, size=record.bytes, expected=record.checksum, remedy=file.remedy
    )


def _map_vectors(file: MappedFile, shape: tuple[int, int]) -> Float16:
    header = npy_header(shape)
    expected = len(header) + 2 * shape[0] * shape[1]
    if len(file.data) != expected or file.data[: len(header)] != header:
        raise IndexFormatError(
            f"{file.path}: damaged: does not begin as float16 {list(shape)} does; {REMEDY}"
        )
    return np.frombuffer(file.data, "<f2", offset=len(header)).reshape(shape)


def _read_blocks(file: MappedFile, record: FileRecord) -> npt.NDArray[np.uint64]:
    require_record(file, record)
    blocks: npt.NDArray[np.uint64] = np.load(io.BytesIO(file.data))
    return blocks
