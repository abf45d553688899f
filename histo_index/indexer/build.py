"""Build an index or bring it up to date: list, hash, plan, encode shard by shard, commit."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from histo_index.errors import ImageError, InputError
from histo_index.indexer.build_config import BuildConfig, BuildProgress, BuildReport
from histo_index.indexer.build_sources import (
    inputs_of,
    list_again,
    list_first,
    remember,
    require_tiles_kept,
    warn_if_moved,
)
from histo_index.indexer.build_state import read_state
from histo_index.indexer.encoder_protocol import Encode, Encoded
from histo_index.indexer.format.encoder_card import EncoderCard
from histo_index.indexer.format.lock import writer_lock
from histo_index.indexer.format.manifest import MANIFEST_NAME, Manifest
from histo_index.indexer.format.records import SearchConfig, Settings, SourceRecord, read_record
from histo_index.indexer.format.removed import LeftOut, keep_removed
from histo_index.indexer.format.shards import Receipt, Rejection
from histo_index.indexer.hashing.cache import forget_states, hash_changed
from histo_index.indexer.hashing.tiles import HashedTiles
from histo_index.indexer.inputs.tile_list import TileList
from histo_index.indexer.inputs.tiles import nothing_usable
from histo_index.indexer.nearest.choose import announce_structure
from histo_index.indexer.runner import run_elsewhere
from histo_index.indexer.sources.choose_sources import NamedSources
from histo_index.indexer.sources.source import Source
from histo_index.indexer.transform.transform import distance_of
from histo_index.indexer.writing.commit import PLAN_NAME, clean_up, commit, count_reasons
from histo_index.indexer.writing.draft import count_dropped, draft_manifest, is_unchanged, root_of
from histo_index.indexer.writing.embedding_store import EmbeddingStore
from histo_index.indexer.writing.folder import keep_encoder, prepare_folder, undoing_first_build
from histo_index.indexer.writing.plan import Plan, in_row_order, make_plan
from histo_index.indexer.writing.plan_file import PlanRecord, write_plan
from histo_index.indexer.writing.rate import MOST_ROWS, begin_encoding
from histo_index.indexer.writing.shard_tasks import Step, run_tasks

# In a smaller first build nothing is measured: it is over soon.
_FEW_TILES: Final = 64


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
    named = config.named
    is_new = not config.output.exists()
    # Sources that cannot be used must not leave a folder behind, or anything in one.
    is_first = not (config.output / MANIFEST_NAME).exists()
    listed = list_first(config.output, named, config.cut_slides) if is_first else None
    prepare_folder(config.output)
    with (
        writer_lock(config.output),
        undoing_first_build(config.output, encode.folder, is_new=is_new),
    ):
        run = _Build(config, encode, progress)
        tiles, sources = listed or run.list_again(named)
        return run.run(tiles, sources, started)


class _Build:
    """One run of a build, under the lock.

    Attributes:
        state: what it starts from.
        left_out: which tiles are left out because they were removed, once all are hashed.
        encoder_files: the encoder's files in the index, copied before the long work.
        shard_rows: tiles per new shard; None in a first build until it is measured.
    """

    def __init__(
        self, config: BuildConfig, encode: Encode, progress: Callable[[BuildProgress], None]
    ) -> None:
        self.folder = config.output
        self.config = config
        self.encode = encode
        self.progress = progress
        self.counts: Counter[str] = Counter()
        self.state = read_state(self.folder, encode.fingerprint)
        self.current, self.finished = self.state.current, self.state.finished
        self.shard_rows = config.shard_rows or self.state.shard_rows
        before = self.current.settings.search if self.current else SearchConfig()
        self.search = config.search or before
        self.encoder_files = keep_encoder(encode.folder, self.folder, self.current)
        self.left_out: LeftOut

    def list_again(self, named: NamedSources) -> tuple[TileList, tuple[Source, ...]]:
        """List the sources of an index that is there; see `build_sources.list_again`."""
        assert self.current is not None
        assert self.state.stored is not None
        planned = self.state.planned.sources if self.state.planned else ()
        remembered = remember(self.folder, self.current.sources, planned)
        cut = self.config.cut_slides
        return list_again(self.folder, named, remembered, self.state.stored, cut)

    def run(self, tiles: TileList, sources: Sequence[Source], started: float) -> BuildReport:
        """Hash, plan, encode and commit what was listed."""
        self.private = self.config.private.settle(self.current, tiles.table.column_names)
        warn_if_moved(self.folder, self.current, tiles.root)
        hashed = self._hash(tiles)
        wanted = hashed.table
        announce_structure(len(wanted), self.encode.embedding_size, self.search, self.current)
        encoded = self._choose_shard_rows(wanted, tiles.root)
        assert self.shard_rows is not None
        known_rejected = self.state.known_rejected(self.encode.max_pixels)
        plan = make_plan(
            wanted,
            self.finished,
            known_rejected=[] if self.config.retry_rejected else known_rejected,
            fingerprint=self.encode.fingerprint,
            max_pixels=self.encode.max_pixels,
            shard_rows=self.shard_rows,
        )
        if self.state.stored is not None and not self.config.is_dropping_meant:
            require_tiles_kept(self.folder, self.state.stored, wanted, plan.rejected)
        records = tuple(source.to_record(self.folder) for source in sources)
        if plan.tasks:
            # Interrupted, an added source is not forgotten; one that replaces others is.
            planned = self.current.sources if self.current and self.config.replace else records
            record = PlanRecord(shard_rows=self.shard_rows, sources=planned)
            write_plan(self.folder, record, plan.tasks)
        receipts = self._write_shards(plan, tiles.root, encoded)
        unusable = [*plan.rejected, *(e for _, receipt in receipts for e in receipt.rejected)]
        # Without a hash: changed since it was hashed, or out of reach.
        forget_states(self.folder, hashed.states, [e.path for e in unusable if not e.sha256])
        rejected = [*tiles.rejected, *hashed.rejected, *unusable]
        kept = [(position, shard.receipt) for position, shard in plan.kept]
        in_order = in_row_order([*kept, *receipts], self.current)
        manifest = self._finish(tiles, records, in_order, rejected)
        return self._report(
            manifest,
            rejected,
            dropped=count_dropped(
                self.current, self.finished, wanted, unusable, self.state.removed
            ),
            ignored=tiles.ignored,
            written=len(receipts),
            started=started,
        )

    def _hash(self, tiles: TileList) -> HashedTiles:
        state = BuildProgress(stage="hashing", total=len(tiles.table))

        def report_hashed(done: int) -> None:
            state.done = done
            self.progress(state)

        leave_out = partial(self.state.removed.leave_out, private=self.private)
        rehash, settled_ns = self.config.rehash, self.config.settled_ns
        hashed, self.left_out = hash_changed(
            self.folder, tiles, report_hashed, leave_out, rehash=rehash, settled_ns=settled_ns
        )
        return hashed

    def _choose_shard_rows(
        self, wanted: pa.Table, root: Path
    ) -> Iterator[Encoded | ImageError] | None:
        """Choose tiles per shard; in a first build from how fast the first tiles are encoded.

        Returns:
            The stream that was begun to measure it, over all tiles; None if none was.
        """
        if self.shard_rows is not None:
            return None
        self.shard_rows = MOST_ROWS
        if self.finished or len(wanted) <= _FEW_TILES or self.config.runner is not None:
            return None
        # With no finished shard the tasks encode exactly these tiles, in this order.
        paths = [root / path for path in wanted["path"].to_pylist()]
        self.shard_rows, encoded = begin_encoding(self.encode, paths)
        return encoded

    def _write_shards(
        self, plan: Plan, root: Path, encoded: Iterator[Encoded | ImageError] | None
    ) -> list[tuple[int, Receipt]]:
        if not plan.tasks:
            return []
        total = sum(len(task.tiles) for task in plan.tasks)
        state = BuildProgress(stage="encoding", total=total, counts=self.counts)

        def count(step: Step) -> None:
            state.done += 1
            self.counts[step.outcome] += 1
            self.progress(state)

        self.progress(state)
        store = EmbeddingStore(self.folder, self.finished)
        how: Any = {"store": store, "folder": self.folder, "root": root, "progress": count}
        if self.config.runner is None:
            receipts = run_tasks(plan.tasks, self.encode, encoded=encoded, **how)
        else:
            receipts = run_elsewhere(self.config.runner, plan.tasks, **how)
        positions = {task.shard_id: task.position for task in plan.tasks}
        return [(positions[receipt.shard_id], receipt) for receipt in receipts]

    def _finish(
        self,
        tiles: TileList,
        sources: tuple[SourceRecord, ...],
        receipts: Sequence[Receipt],
        rejected: Sequence[Rejection],
    ) -> Manifest:
        removed = keep_removed(self.folder, self.current, self.left_out)
        card = self.encode.card()
        encoder = self.current.encoder if self.current else read_record(EncoderCard, card)
        draft = draft_manifest(
            self.folder,
            receipts,
            encoder=encoder,
            encoder_files=self.encoder_files | removed,
            rejected=len(rejected),
            sources=sources,
            settings=self._settings(tiles.root),
        )
        if not draft.shards:
            (self.folder / PLAN_NAME).unlink(missing_ok=True)
            listed = [Source.from_record(source, self.folder) for source in sources]
            raise InputError(nothing_usable(inputs_of(listed), rejected, self.left_out.counts))
        self.progress(BuildProgress(stage="committing", total=draft.tiles))
        before = self.state.rejected
        is_same_list = before is not None and Counter(before) == Counter(rejected)
        manifest = self.current
        if manifest is None or not is_same_list or not is_unchanged(self.folder, manifest, draft):
            manifest = commit(self.folder, draft, current=self.current, rejected=rejected)
        clean_up(self.folder, manifest)
        return manifest

    def _settings(self, root: Path) -> Settings:
        assert self.shard_rows is not None
        distance = distance_of(self.config.distance, self.current, self.encode, folder=self.folder)
        return Settings(
            shard_rows=self.shard_rows,
            max_pixels=self.encode.max_pixels,
            root=root_of(root, self.folder),
            search=self.search,
            distance=distance,
            private=tuple(self.private),
        )

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
