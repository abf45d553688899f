"""Take tiles out of an index: at once by a list of removed ones, for good by new shards.

A removed tile stays out of later builds too, for as long as its content stays the same.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from histo_index.errors import ImageError, counted
from histo_index.indexer.commit import changing, clean_up, commit, finished_shards
from histo_index.indexer.drafting import draft_manifest
from histo_index.indexer.encode import Encoded
from histo_index.indexer.encoder_copy import FOLDER as ENCODER_FOLDER
from histo_index.indexer.lookup import tile_keys
from histo_index.indexer.manifest import REMOVED, REMOVED_REMEDY, Manifest, write_manifest
from histo_index.indexer.plan import in_row_order, make_plan
from histo_index.indexer.shards import FACTS, read_parquet, record_file, write_parquet
from histo_index.indexer.tasks import EmbeddingStore, run_tasks

COLUMNS: Final = ("image_id", "path", "sha256")

_log = logging.getLogger(__name__)


def read_removed(folder: Path, manifest: Manifest | None) -> pa.Table:
    """Read the tiles that were removed: `image_id`, `path`, `sha256`.

    Raises:
        DamagedError: the list is missing or not as it was written.
    """
    if manifest is None or REMOVED not in manifest.files:
        return pa.table({name: pa.array([], pa.string()) for name in COLUMNS})
    return read_parquet(folder, manifest.files[REMOVED], remedy=REMOVED_REMEDY)


def leave_out(tiles: pa.Table, removed: pa.Table) -> pa.Table:
    """Leave out tiles that were removed, known by id and content."""
    if not len(removed):
        return tiles
    is_removed = pc.is_in(tile_keys(tiles), value_set=tile_keys(removed))
    kept = tiles.filter(pc.invert(is_removed))
    if len(kept) < len(tiles):
        out = counted(len(tiles) - len(kept), "tile")
        _log.info("%s left out: removed before", out)
    return kept


def remove_tiles(folder: Path, tiles: pa.Table) -> Manifest:
    """Take tiles out of an index, as a new generation; nothing else is written.

    Args:
        folder: the index.
        tiles: `image_id`, `path` and `sha256` of each.

    Raises:
        LockedError: another process is writing the index.
        IndexFormatError: the index is damaged.
    """
    with changing(folder) as current:
        before = read_removed(folder, current)
        new = tiles.select(list(COLUMNS)).cast(before.schema)
        removed = pa.concat_tables([before, new])
        generation = current.generation + 1
        path = folder / f"{REMOVED}-{generation:06d}.parquet"
        write_parquet(path, removed)
        manifest = replace(
            current,
            generation=generation,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            files={**current.files, REMOVED: record_file(folder, path)},
        )
        write_manifest(folder, manifest)
        for old in set(folder.glob(f"{REMOVED}-*.parquet")) - {path}:
            old.unlink(missing_ok=True)
        return manifest


def compact(folder: Path) -> Manifest:
    """Write shards and search files anew without removed tiles; nothing is encoded.

    Returns:
        What is committed now: the same generation if there was nothing to do.

    Raises:
        LockedError: another process is writing the index.
        IndexFormatError: the index is damaged.
    """
    with changing(folder) as current:
        finished = finished_shards(folder, current.fingerprint)
        in_order = {shard.receipt.shard_id: shard.rows for shard in finished}
        rows = pa.concat_tables([in_order[shard.shard_id] for shard in current.shards])
        facts = [name for name in FACTS if name != "sha256"]
        wanted = leave_out(rows.drop_columns(facts), read_removed(folder, current))
        if len(wanted) == current.tiles:
            return current
        encode = _NoEncoder(current)
        plan = make_plan(
            wanted,
            finished,
            known_rejected=[],
            fingerprint=encode.fingerprint,
            max_pixels=encode.max_pixels,
            shard_rows=current.settings["shard_rows"],
        )
        written = run_tasks(
            plan.tasks,
            encode,
            store=EmbeddingStore(folder, finished),
            folder=folder,
            root=folder,
            progress=lambda step: None,
        )
        places = [(task.position, r) for task, r in zip(plan.tasks, written, strict=True)]
        places += [(position, shard.receipt) for position, shard in plan.kept]
        draft = draft_manifest(
            folder,
            in_row_order(places, current),
            encoder=current.encoder,
            encoder_files=kept_files(current),
            rejected=current.rejected,
            sources=current.sources,
            settings=current.settings,
        )
        manifest = commit(folder, draft, current=current)
        clean_up(folder, manifest)
        return manifest


def kept_files(manifest: Manifest) -> dict[str, Any]:
    """Give the files that do not follow from the shards: encoder, rejected and removed tiles."""
    return {
        role: record
        for role, record in manifest.files.items()
        if role.startswith(f"{ENCODER_FOLDER}/") or role in (REMOVED, "rejected")
    }


class _NoEncoder:
    """Stands for the encoder of an index where nothing is to be encoded."""

    def __init__(self, manifest: Manifest) -> None:
        self.fingerprint = manifest.fingerprint
        self.embedding_size = manifest.embedding_size
        self.max_pixels: int = manifest.settings["max_pixels"]
        self.folder = Path()

    def card(self) -> Mapping[str, Any]:
        return {}

    def describe(self) -> Mapping[str, Any]:
        return {}

    def encode_files(self, paths: Iterable[Path]) -> Iterator[Encoded | ImageError]:
        raise AssertionError("a tile of the index has no embedding")
