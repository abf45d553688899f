"""An index opened for reading: one generation, held for as long as the object lives.

Opening maps the search files and reads none of them whole but `rows.arrow`, so it costs the same
for a thousand tiles and for a million. Every byte that an answer rests on is verified first.
"""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from histo_index.arrays import Bools, Float16, Int64
from histo_index.errors import IndexFormatError
from histo_index.indexer.format.lookup import MISSING, look_up, look_up_unique
from histo_index.indexer.format.manifest import REMOVED, TRANSFORM
from histo_index.indexer.format.vector_file import file_names
from histo_index.indexer.private import private_among
from histo_index.indexer.stored_vectors import REMEDY, StoredVectors, open_files, require_record
from histo_index.indexer.transform.diffusion import Diffusion
from histo_index.indexer.transform.transform import read_transform


class OpenIndex:
    """One generation of an index.

    Attributes:
        folder: the index folder.
        manifest: what it is.
        rows: a row per tile: image_id, path, sha256, width, height, note, the user's columns, stem.
        hidden: private columns that `rows` leaves out.
        shows_private: whether `rows` has private columns.
        is_live: bool [N], false for tiles that were removed; None if none was.
    """

    def __init__(self, folder: Path, *, private: bool = False) -> None:
        """Open the newest generation.

        Args:
            folder: the index folder.
            private: show private columns; else everything works as if they were not there.

        Raises:
            IndexFormatError: the index is missing, damaged, or too new.
        """
        self.folder = folder
        self.manifest, self._files = open_files(folder)
        self.rows = self._read_rows()
        found = private_among(self.rows.column_names, self.manifest.private_columns)
        self.shows_private = private and bool(found)
        self.hidden = [] if private else found
        self.rows = self.rows.drop_columns(self.hidden)
        self.is_live = self._read_live()
        self._vectors = StoredVectors(self.manifest, self._files)

    def __len__(self) -> int:
        return self.manifest.rows

    def vectors(self, rows: Int64) -> Float16:
        """Look up vectors.

        Args:
            rows: int64 [n], each 0…N-1.

        Returns:
            float16 [n, V], rows of length 1 within rounding.

        Raises:
            IndexFormatError: the vectors file is damaged where these rows lie.
        """
        self.verify(rows)
        return self._vectors.matrix[rows]

    def verify(self, rows: Int64) -> None:
        """Check the blocks of the vectors file that these rows lie in, each once.

        Raises:
            IndexFormatError: one is not as it was written, or a file was cut meanwhile.
        """
        self._require_sizes()
        self._vectors.verify(rows)

    @cached_property
    def transform(self) -> Diffusion | None:
        """What turns embeddings into vectors; None where distances are plain."""
        if TRANSFORM not in self._files:
            return None
        file = self._files[TRANSFORM]
        file.require_size()
        record, kind = self.manifest.files[TRANSFORM], self.manifest.distance_kind
        return read_transform(file.path, file.data, record, kind=kind)

    @property
    def matrix(self) -> Float16:
        """All vectors, float16 [N, V], mapped; call `verify` for the rows you touch."""
        return self._vectors.matrix

    def find_names(self, names: pa.Array) -> Int64:
        """Find tiles by image id, else by path, else by file name with or without its suffix.

        Args:
            names: strings [n].

        Returns:
            int64 [n]: the row, MISSING, or AMBIGUOUS where a bare file name fits several tiles.

        Raises:
            IndexFormatError: a file was cut meanwhile.
        """
        self._require_sizes()
        found = look_up(names, self.rows["image_id"])
        for look in (self._find_paths, self._find_stems):
            if (found < 0).any():
                found = np.where(found < 0, look(names), found)
        if (found < 0).any():
            import pyarrow.compute as pc  # here, because a look-up starts fast

            if pc.any(pc.match_substring(names, "\\")).as_py():
                # As Windows writes paths.
                slashed = pc.replace_substring(names, "\\", "/")
                found = np.where(found < 0, self._find_paths(slashed), found)
        return self._without_removed(found)

    def find_contents(self, digests: pa.Array) -> Int64:
        """Find tiles by the SHA-256 of their file: the first such row, or MISSING."""
        self._require_sizes()
        return self._without_removed(look_up(digests, self.rows["sha256"]))

    def allowed(self, mask: Bools | None = None) -> Bools | None:
        """Leave removed tiles out of a mask, bool [N]; None is all."""
        if mask is None or self.is_live is None:
            return self.is_live if mask is None else mask
        return mask & self.is_live

    def live_rows(self) -> Int64:
        """Return the rows of all tiles that were not removed, ascending."""
        return np.arange(len(self)) if self.is_live is None else np.flatnonzero(self.is_live)

    def _without_removed(self, found: Int64) -> Int64:
        if self.is_live is None:
            return found
        return np.where((found >= 0) & ~self.is_live[np.maximum(found, 0)], MISSING, found)

    def _read_live(self) -> Bools | None:
        if REMOVED not in self._files:
            return None
        # Imported here: only an index with removed tiles needs them.
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        file = self._files[REMOVED]
        require_record(file, self.manifest.files[REMOVED])
        removed = pq.ParquetFile(pa.BufferReader(file.data)).read(["sha256"], use_threads=False)
        contents = removed["sha256"].drop_null()
        return ~np.asarray(pc.is_in(self.rows["sha256"], value_set=contents).to_numpy(), bool)

    def _require_sizes(self) -> None:
        """Check the size of each file before mapped bytes are read: 1 µs a file."""
        for file in self._files.values():
            file.require_size()

    def row(self, row: int) -> dict[str, Any]:
        """Return the columns of a tile, without its embedding."""
        self._require_sizes()
        # A third of the time of a slice; `take` would join the chunks of every column first.
        columns = zip(self.rows.column_names, self.rows.columns, strict=True)
        return {name: column[row].as_py() for name, column in columns if name != "stem"}

    @cached_property
    def exact(self) -> Any:
        """Exact search, on a GPU after enough queries."""
        from histo_index.indexer.nearest.exact import ExactSearch
        from histo_index.indexer.nearest.verified import VerifiedSearch

        return VerifiedSearch(ExactSearch(self.matrix), len(self), self.verify)

    @property
    def structure(self) -> Any:
        """The search: by the ANN index, else exact; opened at first use.

        Raises:
            IndexFormatError: a file that it rests on is damaged, or was cut meanwhile.
        """
        if self.manifest.structure is not None:
            self._files["candidates"].require_size()
        return self._structure

    def search_by(self, structure: Any) -> None:
        """Search by another `Structure` from now on; None is the index's own again."""
        self.__dict__.pop("_structure", None)
        if structure is not None:
            self.__dict__["_structure"] = structure

    @cached_property
    def _structure(self) -> Any:
        from histo_index.indexer.nearest.candidates import CandidateSearch
        from histo_index.indexer.nearest.faiss_index import read_candidates

        if self.manifest.structure is None:
            return self.exact
        file, record = self._files["candidates"], self.manifest.files["candidates"]
        require_record(file, record)
        rows, size = self.matrix.shape
        index = read_candidates(file.path, file.data, rows=rows, size=size)
        facts = self.manifest.structure
        assert facts is not None
        return CandidateSearch(index, self.exact, effort=facts.effort, candidates=facts.candidates)

    def _find_paths(self, names: pa.Array) -> Int64:
        return look_up(names, self.rows["path"])

    def _find_stems(self, names: pa.Array) -> Int64:
        found = look_up_unique(names, file_names(self.rows["path"]))
        return np.where(found == MISSING, look_up_unique(names, self.rows["stem"]), found)

    def _read_rows(self) -> pa.Table:
        file, record = self._files["rows"], self.manifest.files["rows"]
        require_record(file, record)
        try:
            return pa.ipc.open_file(pa.py_buffer(file.data)).read_all()
        except pa.ArrowException as error:
            raise IndexFormatError(f"{file.path}: damaged ({error}); {REMEDY}") from error
