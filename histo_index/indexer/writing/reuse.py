"""Reuse rows, vectors and the ANN index of the previous generation for shards that stay.

Every byte is verified before it is reused, so that damage is never copied. After the first damaged
block, everything else is rebuilt from the shards.
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from histo_index.arrays import Float16
from histo_index.errors import IndexFormatError
from histo_index.indexer.format.checksums import require_whole
from histo_index.indexer.format.manifest import FORMAT_VERSION, MANIFEST_NAME, TRANSFORM, Manifest
from histo_index.indexer.format.records import SearchConfig, ShardRecord
from histo_index.indexer.nearest.choose import Learnt, can_grow
from histo_index.indexer.reader import OpenIndex
from histo_index.indexer.transform.diffusion import Diffusion
from histo_index.indexer.writing.search_files import ShardSource

_log = logging.getLogger(__name__)


def source_of(
    folder: Path, draft: Manifest, current: Manifest | None, transform: Diffusion | None
) -> ShardSource:
    """Choose where rows, vectors and the ANN index come from; see `derive`.

    Args:
        folder: the index, held for writing.
        draft: what is about to be committed, its distance and transform settled.
        current: what is committed now; None to make everything from the shards.
        transform: the draft's.
    """
    if current is None or not _is_made_alike(folder, draft, current):
        return ShardSource(folder, transform)
    try:
        return _ReusingSource(folder, transform, OpenIndex(folder, private=True))
    except IndexFormatError as error:
        _warn(error)
        return ShardSource(folder, transform)


def _is_made_alike(folder: Path, draft: Manifest, current: Manifest) -> bool:
    """Check whether equal shards would give equal rows and vectors."""
    version = json.loads((folder / MANIFEST_NAME).read_bytes())["format_version"]
    return (
        version == FORMAT_VERSION
        and draft.libraries == current.libraries
        and draft.files.get(TRANSFORM) == current.files.get(TRANSFORM)
    )


class _ReusingSource(ShardSource):
    """Reads undamaged rows from the previous generation, and the rest from the shards."""

    def __init__(self, folder: Path, transform: Diffusion | None, before: OpenIndex) -> None:
        super().__init__(folder, transform)
        self._before: OpenIndex | None = before
        shards = before.manifest.shards
        ends = np.cumsum([shard.rows for shard in shards]).tolist()
        self._starts = {s.file: end - s.rows for s, end in zip(shards, ends, strict=True)}

    def read(self, shard: ShardRecord) -> tuple[pa.Table, Float16]:
        start = self._starts.get(shard.file)
        if self._before is None or start is None:
            return super().read(shard)
        rows = slice(start, start + shard.rows)
        try:
            self._before.verify(np.arange(rows.start, rows.stop))
        except IndexFormatError as error:
            _warn(error)
            self._before = None
            return super().read(shard)
        return self._before.rows.slice(start, shard.rows), self._before.matrix[rows]

    def learnt(
        self, shards: Sequence[ShardRecord], factory: str, config: SearchConfig
    ) -> Learnt | None:
        if self._before is None:
            return None
        before = self._before.manifest
        kept, total = self._rows_in_place(shards), sum(shard.rows for shard in shards)
        if not can_grow(before, factory, config, kept=kept, rows=total):
            return None
        try:
            assert before.structure is not None
            return Learnt(index=_read_structure(self._before, kept), facts=before.structure)
        except IndexFormatError as error:
            _warn(error)
            return None

    def _rows_in_place(self, shards: Sequence[ShardRecord]) -> int:
        """Count the rows before the first that is new or has another row number than before."""
        row = 0
        for shard in shards:
            if self._starts.get(shard.file) != row:
                break
            row += shard.rows
        return row


def _read_structure(before: OpenIndex, kept: int) -> Any:
    # Imported here: a small index needs no FAISS.
    from histo_index.indexer.nearest.faiss_index import read_growing

    record = before.manifest.files["candidates"]
    path = before.folder / record.path
    remedy = "run `histo-index reindex`"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise IndexFormatError(f"{path}: cannot be read ({error.strerror}); {remedy}") from error
    require_whole(path, data=data, size=record.bytes, expected=record.checksum, remedy=remedy)
    rows, size = before.matrix.shape
    return read_growing(path, data, rows=rows, size=size, kept=kept)


def _warn(error: IndexFormatError) -> None:
    found = str(error).rpartition("; ")[0]
    _log.warning("%s; rebuilt from the shards", found)
