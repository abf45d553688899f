"""Rewrite shards and search files without removed tiles, to free their space."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from histo_index.errors import ImageError
from histo_index.indexer.encoder_protocol import Encoded
from histo_index.indexer.format.checksums import DamagedError
from histo_index.indexer.format.manifest import FEATURES, REMOVED, Manifest
from histo_index.indexer.format.records import FileRecord
from histo_index.indexer.format.removed import read_removed
from histo_index.indexer.format.shards import FACTS
from histo_index.indexer.writing.commit import (
    PLAN_NAME,
    changing,
    clean_up,
    commit,
    finished_shards,
)
from histo_index.indexer.writing.draft import draft_manifest
from histo_index.indexer.writing.embedding_store import EmbeddingStore
from histo_index.indexer.writing.folder import ENCODER_FOLDER
from histo_index.indexer.writing.plan import FinishedShard, in_row_order, make_plan
from histo_index.indexer.writing.shard_tasks import run_tasks


@dataclass(frozen=True, kw_only=True)
class CompactReport:
    """What was committed by `compact`.

    Attributes:
        index: the index folder.
        generation: the committed state; unchanged if there was nothing to do.
        tiles: how many tiles the index has.
        erased: rows of removed tiles that were erased from the shards.
    """

    index: Path
    generation: int
    tiles: int
    erased: int


def compact(folder: Path) -> CompactReport:
    """Rewrite shards and search files without removed tiles; nothing is encoded.

    Raises:
        LockedError: another process is writing the index.
        IndexFormatError: the index is damaged.
    """
    with changing(folder) as current:
        manifest = current
        if current.tiles < current.rows:
            contents = read_removed(folder, current).contents
            finished = finished_shards(folder, current.fingerprint)
            draft = rewrite(folder, current, finished, contents)
            manifest = commit(folder, draft, current=current)
        # Else there may be what a killed one left, or shards that the next build goes on from.
        if manifest is not current or not (folder / PLAN_NAME).exists():
            clean_up(folder, manifest)
        return CompactReport(
            index=folder,
            generation=manifest.generation,
            tiles=manifest.tiles,
            erased=current.rows - manifest.rows,
        )


def rewrite(
    folder: Path,
    current: Manifest,
    finished: Sequence[FinishedShard],
    contents: pa.Array,
    *,
    tainted: Collection[str] = (),
) -> Manifest:
    """Write shards without some contents, and draft the manifest that names them.

    Args:
        folder: the index, held for writing.
        current: what is committed.
        finished: all shards on disk.
        contents: SHA-256 of what is left out.
        tainted: ids of shards that must not stay, whatever their rows.

    Raises:
        DamagedError: a shard is not there, or was damaged and is gone.
    """
    by_id = {shard.receipt.shard_id: shard.rows for shard in finished}
    if lost := [shard for shard in current.shards if shard.shard_id not in by_id]:
        raise DamagedError(
            f"{folder / lost[0].file.path}: missing or damaged; run `histo-index build` again: "
            "only its tiles are encoded again"
        )
    rows = pa.concat_tables([by_id[shard.shard_id] for shard in current.shards])
    rows = rows.drop_columns([name for name in FACTS if name != "sha256"])
    encode = _StoredOnly(current)
    plan = make_plan(
        rows.filter(pc.invert(pc.is_in(rows["sha256"], value_set=contents))),
        [shard for shard in finished if shard.receipt.shard_id not in tainted],
        known_rejected=[],
        fingerprint=encode.fingerprint,
        max_pixels=encode.max_pixels,
        shard_rows=current.settings.shard_rows,
    )
    written = run_tasks(
        plan.tasks,
        encode,
        store=EmbeddingStore(folder, finished),
        folder=folder,
        root=folder,
        progress=lambda step: None,
    )
    receipts = [(task.position, r) for task, r in zip(plan.tasks, written, strict=True)]
    receipts += [(position, shard.receipt) for position, shard in plan.kept]
    draft = draft_manifest(
        folder,
        in_row_order(receipts, current),
        encoder=current.encoder,
        encoder_files=_kept_files(current),
        rejected=current.rejected,
        sources=current.sources,
        settings=current.settings,
    )
    return replace(draft, tiles=current.tiles)


def _kept_files(manifest: Manifest) -> dict[str, FileRecord]:
    """Choose the files that do not follow from the shards, such as the encoder's."""
    return {
        role: record
        for role, record in manifest.files.items()
        if role.startswith(f"{ENCODER_FOLDER}/") or role in (REMOVED, FEATURES, "rejected")
    }


class _StoredOnly:
    """Stands for the encoder in tasks whose every tile has an embedding in a shard."""

    def __init__(self, manifest: Manifest) -> None:
        self.fingerprint = manifest.fingerprint
        self.embedding_size = manifest.embedding_size
        self.max_pixels = manifest.settings.max_pixels
        self.folder = Path()

    def card(self) -> Mapping[str, Any]:
        return {}

    def describe(self) -> Mapping[str, str]:
        return {}

    def encode_files(self, paths: Iterable[Path]) -> Iterator[Encoded | ImageError]:
        raise AssertionError("a tile of the index has no embedding")
