"""Build an index or bring it up to date: list, hash, plan, encode shard by shard, commit."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import pyarrow as pa

from histo_index.errors import InputError, MismatchError
from histo_index.indexer import encoder_copy
from histo_index.indexer.atomic import remove_leftovers
from histo_index.indexer.checksums import DamagedError
from histo_index.indexer.commit import (
    PLAN_NAME,
    clean_up,
    commit,
    configured,
    count_reasons,
    finished_shards,
    read_rejected,
)
from histo_index.indexer.distance import distance_of, require_distance
from histo_index.indexer.drafting import count_dropped, draft_manifest, is_unchanged, root_of
from histo_index.indexer.encode import Encode
from histo_index.indexer.hashing import HashedTiles
from histo_index.indexer.lock import writer_lock
from histo_index.indexer.manifest import MANIFEST_NAME, FileRecord, Manifest, read_manifest
from histo_index.indexer.plan import Plan, in_row_order, make_plan
from histo_index.indexer.preparing import prepare_folder, undoing_first_build
from histo_index.indexer.removed import LeftOut, keep_removed, private_columns, read_removed
from histo_index.indexer.shards import Receipt, write_parquet
from histo_index.indexer.sources import Rejection, TileList, list_tiles, nothing_usable
from histo_index.indexer.states import forget_states, hash_changed
from histo_index.indexer.structure import SearchConfig, announce_structure
from histo_index.indexer.tasks import EmbeddingStore, Step, run_tasks

ENCODER_FOLDER: Final = encoder_copy.FOLDER
# 1,024 embeddings of 2048 are 4 MB: a kill costs seconds of work, a million tiles are 1,000 files.
DEFAULT_SHARD_ROWS: Final = 1024

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class BuildConfig:
    """What to build.

    Attributes:
        sources: folders, image files, or one manifest.
        output: the index folder, created if missing.
        manifest: a list of tiles with their metadata; see `list_tiles`.
        shard_rows: tiles per shard; None is the index's own, DEFAULT_SHARD_ROWS in a first build.
        retry_rejected: try again what an earlier build could not use.
        rehash: read every tile again, also one whose size and times are as they were.
        search: how the index is to be searched; None is as it was, by its size in a first build.
        distance: `diffused`, `whitened` or `plain`; None is as it was, at first by the encoder.
    """

    sources: Sequence[Path]
    output: Path
    manifest: Path | None = None
    shard_rows: int | None = None
    retry_rejected: bool = False
    rehash: bool = False
    search: SearchConfig | None = None
    distance: str | None = None

    def __post_init__(self) -> None:
        require_distance(self.distance)
        if self.shard_rows is not None and not 1 <= self.shard_rows <= 1_000_000:
            raise InputError(f"shard_rows is {self.shard_rows}; expected 1 to 1,000,000")

    @property
    def inputs(self) -> list[Path]:
        """All that was named."""
        return [*self.sources, *([self.manifest] if self.manifest else [])]


@dataclass(kw_only=True)
class BuildProgress:
    """How far a build has come.

    Attributes:
        stage: `hashing`, `encoding` or `committing`.
        total: tiles of this stage.
        done: of them dealt with.
        counts: `encoded`, `copied`, `rejected` tiles so far.
    """

    stage: str
    total: int
    done: int = 0
    counts: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, kw_only=True)
class BuildReport:
    """What a build did.

    Attributes:
        index: the index folder.
        generation: the committed state.
        tiles: N, now in the index.
        encoded: tiles that went through the encoder.
        reused: tiles whose embedding was there already.
        dropped: tiles of the generation before, by image_id, that are in the index no longer.
        rejected: kind of reason to number of inputs.
        rejected_file: the list of them, relative to the index.
        left_out: reason to number of tiles that were not taken in, because they were removed.
        ignored: files that are no images by their name.
        shards_written: how many shard files this run wrote.
        seconds: wall time.
        bytes: size of the index on disk.
    """

    index: Path
    generation: int
    tiles: int
    encoded: int
    reused: int
    dropped: int
    rejected: Mapping[str, int]
    rejected_file: str
    left_out: Mapping[str, int]
    ignored: int
    shards_written: int
    seconds: float
    bytes: int

    @property
    def images_per_second(self) -> float:
        """Encoded tiles by wall time, everything included."""
        return self.encoded / self.seconds if self.seconds > 0 else 0.0


def build(
    config: BuildConfig,
    encode: Encode,
    progress: Callable[[BuildProgress], None] = lambda state: None,
) -> BuildReport:
    """Build an index or bring it up to date.

    Only new and changed tiles are encoded; vanished ones are dropped; an interrupted build goes on
    from its last finished shard. Readers see the old generation until the new one is complete. A
    first build that fails before there is anything to go on from leaves no folder behind.

    Args:
        config: what to build.
        encode: the encoder; an index stays with the one it was begun with.
        progress: called often, cheaply.

    Returns:
        What was done.

    Raises:
        InputError: sources or output cannot be used, or not one tile can.
        MismatchError: the index belongs to another encoder.
        LockedError: another process is writing the index.
        IndexFormatError: the index's manifest is damaged or too new.
        OSError: the disk is full or not writable; the old state stands.
    """
    started = time.monotonic()
    is_new = not config.output.exists()
    # Sources that cannot be used must not leave a folder behind, or anything in one.
    listed = None if (config.output / MANIFEST_NAME).exists() else _list(config)
    prepare_folder(config.output)
    with (
        writer_lock(config.output),
        undoing_first_build(config.output, encode.folder, is_new=is_new),
    ):
        tiles = listed or _list(config)
        return _Build(config, encode, progress).run(tiles, started)


def _list(config: BuildConfig) -> TileList:
    tiles = list_tiles(config.sources, config.manifest)
    if not len(tiles.table):
        raise InputError(nothing_usable(config.inputs, tiles.rejected))
    return tiles


class _Build:
    """One run of a build, under the lock.

    Attributes:
        current: the committed state it starts from; None in a first build.
        finished: the shards it finds.
        known: the rejected list it finds; None if there is none that can be read.
        removed: the record of what was removed.
        left_out: which tiles are left out for it, once they are hashed.
        encoder_files: the encoder's files in the index, copied before the long work.
        shard_rows: tiles per new shard.
    """

    def __init__(
        self, config: BuildConfig, encode: Encode, progress: Callable[[BuildProgress], None]
    ) -> None:
        self.folder = config.output
        self.config = config
        self.encode = encode
        self.progress = progress
        self.counts: Counter[str] = Counter()
        self.current = self._read_current()
        settings = self.current.settings if self.current else {"shard_rows": DEFAULT_SHARD_ROWS}
        self.shard_rows: int = config.shard_rows or settings["shard_rows"]
        self.search = config.search or configured(settings)
        remove_leftovers(self.folder)
        self.finished = finished_shards(self.folder, encode.fingerprint)
        self.known = self._read_known()
        self.encoder_files = self._keep_encoder()
        self.removed = read_removed(self.folder, self.current)
        self.left_out: LeftOut

    def run(self, tiles: TileList, started: float) -> BuildReport:
        self._tell_moved(tiles.root)
        hashed = self._hash(tiles)
        wanted = hashed.table
        announce_structure(len(wanted), self.encode.embedding_size, self.search, self.current)
        plan = make_plan(
            wanted,
            self.finished,
            known_rejected=self._known_rejected(),
            fingerprint=self.encode.fingerprint,
            max_pixels=self.encode.max_pixels,
            shard_rows=self.shard_rows,
        )
        receipts = self._write_shards(plan, tiles.root)
        unusable = [*plan.rejected, *(e for _, receipt in receipts for e in receipt.rejected)]
        # Without a hash: changed since it was hashed, or out of reach.
        forget_states(self.folder, hashed.states, [e.path for e in unusable if not e.sha256])
        rejected = [*tiles.rejected, *hashed.rejected, *unusable]
        kept = [(position, shard.receipt) for position, shard in plan.kept]
        in_order = in_row_order([*kept, *receipts], self.current)
        manifest = self._finish(tiles, in_order, rejected)
        return self._report(
            manifest,
            rejected,
            dropped=count_dropped(self.current, self.finished, wanted, unusable, self.removed),
            ignored=tiles.ignored,
            written=len(receipts),
            started=started,
        )

    def _read_current(self) -> Manifest | None:
        if not (self.folder / MANIFEST_NAME).exists():
            return None
        manifest = read_manifest(self.folder)
        if manifest.fingerprint != self.encode.fingerprint:
            raise MismatchError(
                f"{self.folder} was built by encoder {manifest.fingerprint} but this encoder is "
                f"{self.encode.fingerprint}; pass the matching encoder or build into a new folder"
            )
        return manifest

    def _tell_moved(self, root: Path) -> None:
        before = self.current.settings["root"] if self.current else root_of(root, self.folder)
        if before != root_of(root, self.folder):
            _log.warning(
                "paths now start from %s, before from %s: image ids may have changed",
                root,
                (self.folder / before).resolve(),
            )

    def _read_known(self) -> list[Rejection] | None:
        if self.current is None:
            return None
        try:
            return read_rejected(self.folder, self.current)
        except DamagedError as error:
            _log.warning("%s", error)
            return None

    def _hash(self, tiles: TileList) -> HashedTiles:
        state = BuildProgress(stage="hashing", total=len(tiles.table))

        def tell(done: int) -> None:
            state.done = done
            self.progress(state)

        leave_out = partial(self.removed.leave_out, private=private_columns(self.current))
        rehash = self.config.rehash
        hashed, self.left_out = hash_changed(self.folder, tiles, tell, leave_out, rehash=rehash)
        return hashed

    def _known_rejected(self) -> list[Rejection]:
        """Collect what earlier builds with the same limits could not use."""
        if self.config.retry_rejected:
            return []
        limit = self.encode.max_pixels
        receipts = [shard.receipt for shard in self.finished]
        known = [entry for r in receipts if r.max_pixels == limit for entry in r.rejected]
        if self.current is not None and self.current.settings["max_pixels"] == limit:
            known += self.known or []
        return known

    def _keep_encoder(self) -> dict[str, FileRecord]:
        """Copy the encoder into the index, unless it is there and whole."""
        if self.current is not None:
            files = self.current.files
            records = {k: v for k, v in files.items() if k.startswith(f"{ENCODER_FOLDER}/")}
            if all(encoder_copy.is_whole(self.folder, record) for record in records.values()):
                return records
        return encoder_copy.copy_encoder(self.encode.folder, self.folder)

    def _write_shards(self, plan: Plan, root: Path) -> list[tuple[int, Receipt]]:
        if not plan.tasks:
            return []
        total = sum(len(task.tiles) for task in plan.tasks)
        state = BuildProgress(stage="encoding", total=total, counts=self.counts)
        self._write_plan(plan)

        def tell(step: Step) -> None:
            state.done += 1
            self.counts[step.outcome] += 1
            self.progress(state)

        receipts = run_tasks(
            plan.tasks,
            self.encode,
            store=EmbeddingStore(self.folder, self.finished),
            folder=self.folder,
            root=root,
            progress=tell,
        )
        return list(zip((task.position for task in plan.tasks), receipts, strict=True))

    def _write_plan(self, plan: Plan) -> None:
        """Leave the plan on disk: `info` tells from it how far an interrupted build came."""
        tables = [
            task.tiles.select(["image_id", "path", "sha256"]).add_column(
                0, "shard_id", pa.array([task.shard_id] * len(task.tiles))
            )
            for task in plan.tasks
        ]
        write_parquet(self.folder / PLAN_NAME, pa.concat_tables(tables))

    def _finish(
        self, tiles: TileList, receipts: Sequence[Receipt], rejected: Sequence[Rejection]
    ) -> Manifest:
        removed = keep_removed(self.folder, self.current, self.left_out)
        draft = draft_manifest(
            self.folder,
            receipts,
            encoder=self.current.encoder if self.current else self.encode.card(),
            encoder_files=self.encoder_files | removed,
            rejected=len(rejected),
            settings={
                "shard_rows": self.shard_rows,
                "max_pixels": self.encode.max_pixels,
                "root": root_of(tiles.root, self.folder),
                "search": asdict(self.search),
                "distance": distance_of(
                    self.config.distance, self.current, self.encode, folder=self.folder
                ),
            },
        )
        if not draft.shards:
            raise InputError(nothing_usable(self.config.inputs, rejected, self.left_out.counts))
        self.progress(BuildProgress(stage="committing", total=draft.tiles))
        is_same_list = self.known is not None and Counter(self.known) == Counter(rejected)
        manifest = self.current
        if manifest is None or not is_same_list or not is_unchanged(self.folder, manifest, draft):
            manifest = commit(self.folder, draft, current=self.current, rejected=rejected)
        clean_up(self.folder, manifest)
        return manifest

    def _report(
        self,
        manifest: Manifest,
        rejected: Sequence[Rejection],
        *,
        dropped: int,
        ignored: int,
        written: int,
        started: float,
    ) -> BuildReport:
        return BuildReport(
            index=self.folder,
            generation=manifest.generation,
            tiles=manifest.tiles,
            encoded=self.counts["encoded"],
            reused=manifest.tiles - self.counts["encoded"],
            dropped=dropped,
            rejected=count_reasons(rejected),
            rejected_file=manifest.files["rejected"].path,
            left_out=self.left_out.counts,
            ignored=ignored,
            shards_written=written,
            seconds=time.monotonic() - started,
            bytes=sum(record.bytes for record in manifest.records()),
        )
