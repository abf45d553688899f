"""Read the state of an index folder before a build changes it."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa

from histo_index.errors import MismatchError
from histo_index.files import remove_leftovers
from histo_index.indexer.build_sources import read_stored
from histo_index.indexer.format.checksums import DamagedError
from histo_index.indexer.format.manifest import MANIFEST_NAME, Manifest, read_manifest
from histo_index.indexer.format.removed import Removed, read_removed
from histo_index.indexer.format.shards import Rejection
from histo_index.indexer.sources.source import StoredTiles
from histo_index.indexer.writing.commit import finished_shards, read_rejected
from histo_index.indexer.writing.plan import FinishedShard
from histo_index.indexer.writing.plan_file import PlanRecord, read_plan

# How the reason of a tile begins that could not be reached, which says nothing about its content.
UNREADABLE: Final = "cannot be read"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class BuildState:
    """What a build starts from.

    Attributes:
        current: the committed state; None in a first build.
        finished: the shards on disk that are whole, committed or left by an interrupted build.
        stored: the committed tiles that were not removed; None in a first build.
        rejected: the committed list of inputs that could not be used; None if it cannot be read.
        removed: the record of what was removed.
        planned: what an interrupted build decided; None if there was none.
    """

    current: Manifest | None
    finished: list[FinishedShard]
    stored: StoredTiles | None
    rejected: list[Rejection] | None
    removed: Removed
    planned: PlanRecord | None

    @property
    def shard_rows(self) -> int | None:
        """Tiles per shard so far; None if never chosen."""
        if self.current is not None:
            return self.current.settings.shard_rows
        return None if self.planned is None else self.planned.shard_rows

    def known_rejected(self, max_pixels: int) -> list[Rejection]:
        """Collect what earlier builds with the same decoding limit could not use.

        Tiles that were only out of reach, as on a share that was gone, are not among them.
        """
        receipts = [shard.receipt for shard in self.finished]
        known = [entry for r in receipts if r.max_pixels == max_pixels for entry in r.rejected]
        if self.current is not None and self.current.settings.max_pixels == max_pixels:
            known += self.rejected or []
        return [entry for entry in known if not entry.reason.startswith(UNREADABLE)]


def read_state(folder: Path, fingerprint: str) -> BuildState:
    """Read what is there, cleared of what killed writers left.

    Args:
        folder: the index, held for writing.
        fingerprint: the encoder's.

    Raises:
        MismatchError: the index, or a finished shard, is of another encoder.
        IndexFormatError: the manifest is damaged or too new.
    """
    current = _read_current(folder, fingerprint)
    planned = read_plan(folder)
    remove_leftovers(folder)
    finished = finished_shards(folder, fingerprint)
    removed = read_removed(folder, current)
    stored = rejected = None
    if current is not None:
        found = read_stored(folder, current, finished)
        is_live = pa.array(~removed.find(found.table))
        stored = StoredTiles(root=found.root, table=found.table.filter(is_live))
        rejected = _read_rejected(folder, current)
    return BuildState(
        current=current,
        finished=finished,
        stored=stored,
        rejected=rejected,
        removed=removed,
        planned=planned,
    )


def _read_current(folder: Path, fingerprint: str) -> Manifest | None:
    if not (folder / MANIFEST_NAME).exists():
        return None
    manifest = read_manifest(folder)
    if manifest.fingerprint != fingerprint:
        raise MismatchError(
            f"{folder} was built by encoder {manifest.fingerprint} but this encoder is "
            f"{fingerprint}; pass the matching encoder or build into a new folder"
        )
    return manifest


def _read_rejected(folder: Path, current: Manifest) -> list[Rejection] | None:
    try:
        return read_rejected(folder, current)
    except DamagedError as error:
        _log.warning("%s", error)
        return None
