"""Build an index or bring it up to date: list, hash, plan, encode shard by shard, commit."""

import logging
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from histo_index.errors import InputError, MismatchError
from histo_index.indexer import shards as shard_files
from histo_index.indexer.atomic import publishing, remove_leftovers
from histo_index.indexer.commit import (
    PLAN_NAME,
    clean_up,
    commit,
    count_reasons,
    finished_shards,
    read_rejected,
)
from histo_index.indexer.encode import Encode
from histo_index.indexer.hashing import hash_tiles
from histo_index.indexer.lock import LOCK_NAME, writer_lock
from histo_index.indexer.manifest import (
    MANIFEST_NAME,
    FileRecord,
    Manifest,
    read_manifest,
)
from histo_index.indexer.plan import FinishedShard, Plan, make_plan
from histo_index.indexer.shards import Receipt
from histo_index.indexer.sources import Rejection, TileList, list_tiles
from histo_index.indexer.tasks import EmbeddingStore, Step, run_tasks

ENCODER_FOLDER: Final = "encoder"
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
        shard_rows: tiles per shard.
        retry_rejected: try again what an earlier build could not use.
    """

    sources: Sequence[Path]
    output: Path
    manifest: Path | None = None
    shard_rows: int = DEFAULT_SHARD_ROWS
    retry_rejected: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.shard_rows <= 1_000_000:
            raise InputError(f"shard_rows is {self.shard_rows}; expected 1 to 1,000,000")


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
        rejected: kind of reason to number of inputs.
        rejected_file: the list of them, relative to the index.
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
    rejected: Mapping[str, int]
    rejected_file: str
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
    from its last finished shard. Readers see the old generation until the new one is complete.

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
    _prepare_folder(config.output)
    with writer_lock(config.output):
        return _Build(config, encode, progress, started).run()


class _Build:
    """One run of a build, under the lock."""

    def __init__(
        self,
        config: BuildConfig,
        encode: Encode,
        progress: Callable[[BuildProgress], None],
        started: float,
    ) -> None:
        self.folder = config.output
        self.config = config
        self.encode = encode
        self.progress = progress
        self.started = started
        self.counts: Counter[str] = Counter()

    def run(self) -> BuildReport:
        remove_leftovers(self.folder)
        current = self._current()
        tiles = list_tiles(self.config.sources, self.config.manifest)
        wanted, unreadable = self._hash(tiles)
        finished = finished_shards(self.folder, self.encode.fingerprint)
        plan = make_plan(
            wanted,
            finished,
            self._known_rejected(current, finished),
            fingerprint=self.encode.fingerprint,
            max_pixels=self.encode.max_pixels,
            shard_rows=self.config.shard_rows,
        )
        receipts = self._write_shards(plan, finished, tiles.root)
        rejected = [*tiles.rejected, *unreadable, *plan.rejected]
        rejected += [entry for _, receipt in receipts for entry in receipt.rejected]
        kept = [(position, shard.receipt) for position, shard in plan.kept]
        in_order = [receipt for _, receipt in sorted((*kept, *receipts), key=lambda pair: pair[0])]
        manifest = self._finish(current, in_order, rejected, tiles.root)
        return self._report(manifest, tiles, rejected, len(receipts))

    def _current(self) -> Manifest | None:
        if not (self.folder / MANIFEST_NAME).exists():
            return None
        manifest = read_manifest(self.folder)
        if manifest.fingerprint != self.encode.fingerprint:
            raise MismatchError(
                f"{self.folder} was built by encoder {manifest.fingerprint} but this encoder is "
                f"{self.encode.fingerprint}; pass the matching encoder or build into a new folder"
            )
        return manifest

    def _hash(self, tiles: TileList) -> tuple[pa.Table, list[Rejection]]:
        state = BuildProgress(stage="hashing", total=len(tiles.table))

        def tell(done: int) -> None:
            state.done = done
            self.progress(state)

        return hash_tiles(tiles, tell)

    def _known_rejected(
        self, current: Manifest | None, finished: Sequence[FinishedShard]
    ) -> list[Rejection]:
        """Collect what earlier builds with the same limits could not use."""
        if self.config.retry_rejected:
            return []
        known = [
            entry
            for shard in finished
            if shard.receipt.max_pixels == self.encode.max_pixels
            for entry in shard.receipt.rejected
        ]
        if current is not None and current.settings.get("max_pixels") == self.encode.max_pixels:
            known += read_rejected(self.folder, current)
        return known

    def _write_shards(
        self, plan: Plan, finished: Sequence[FinishedShard], root: Path
    ) -> list[tuple[int, Receipt]]:
        if not plan.tasks:
            return []
        total = sum(len(task.tiles) for task in plan.tasks)
        state = BuildProgress(stage="encoding", total=total, counts=self.counts)
        self._write_plan(plan)

        def tell(step: Step) -> None:
            state.done += 1
            self.counts[step.outcome] += 1
            self.progress(state)

        store = EmbeddingStore(self.folder, finished)
        receipts = run_tasks(
            plan.tasks, self.encode, store, folder=self.folder, root=root, progress=tell
        )
        positions = [task.position for task in plan.tasks]
        return list(zip(positions, receipts, strict=True))

    def _write_plan(self, plan: Plan) -> None:
        """Leave the plan on disk: `info` tells from it how far an interrupted build came."""
        tables = [
            task.tiles.add_column(0, "shard_id", pa.array([task.shard_id] * len(task.tiles)))
            for task in plan.tasks
        ]
        with publishing(self.folder / PLAN_NAME) as temporary:
            pq.write_table(pa.concat_tables(tables), temporary)

    def _finish(
        self,
        current: Manifest | None,
        receipts: Sequence[Receipt],
        rejected: list[Rejection],
        root: Path,
    ) -> Manifest:
        shards = tuple(
            shard_files.record_shard(self.folder, receipt) for receipt in receipts if receipt.rows
        )
        if not shards:
            raise InputError(_nothing_usable(self.config.sources, rejected))
        self.progress(BuildProgress(stage="committing", total=sum(r.rows for r in receipts)))
        draft = Manifest(
            generation=current.generation if current else 0,
            created="",
            encoder=self.encode.card(),
            tiles=sum(shard.rows for shard in shards),
            rejected=len(rejected),
            shards=shards,
            files=self._copy_encoder(current),
            settings={
                "shard_rows": self.config.shard_rows,
                "max_pixels": self.encode.max_pixels,
                # Relative, so that tiles and index can be moved together.
                "root": os.path.relpath(root, self.folder.resolve()),
            },
            libraries=_libraries(),
        )
        if current is not None and self._is_unchanged(current, draft, rejected):
            clean_up(self.folder, current)
            return current
        return commit(self.folder, draft, current, rejected)

    def _copy_encoder(self, current: Manifest | None) -> dict[str, FileRecord]:
        """Keep the encoder inside the index, so that the folder alone answers for new images."""
        if current is not None:
            return {k: v for k, v in current.files.items() if k.startswith(f"{ENCODER_FOLDER}/")}
        records = {}
        for source in sorted(self.encode.folder.iterdir()):
            target = self.folder / ENCODER_FOLDER / source.name
            with publishing(target) as temporary:
                shutil.copyfile(source, temporary)
            records[f"{ENCODER_FOLDER}/{source.name}"] = shard_files.record_file(
                self.folder, target
            )
        return records

    def _is_unchanged(
        self, current: Manifest, draft: Manifest, rejected: Sequence[Rejection]
    ) -> bool:
        same = current.shards == draft.shards and current.settings == draft.settings
        whole = all(
            (path := self.folder / record.path).is_file() and path.stat().st_size == record.bytes
            for record in current.records()
        )
        return same and whole and set(read_rejected(self.folder, current)) == set(rejected)

    def _report(
        self, manifest: Manifest, tiles: TileList, rejected: Sequence[Rejection], written: int
    ) -> BuildReport:
        encoded = self.counts["encoded"]
        return BuildReport(
            index=self.folder,
            generation=manifest.generation,
            tiles=manifest.tiles,
            encoded=encoded,
            reused=manifest.tiles - encoded,
            rejected=count_reasons(rejected),
            rejected_file=manifest.files["rejected"].path,
            ignored=tiles.ignored,
            shards_written=written,
            seconds=time.monotonic() - self.started,
            bytes=sum(record.bytes for record in manifest.records()),
        )


def _prepare_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; pass a folder for the index, such as tiles.hx")
    folder.mkdir(parents=True, exist_ok=True)
    names = {path.name for path in folder.iterdir()}
    if names and LOCK_NAME not in names and MANIFEST_NAME not in names:
        raise InputError(f"{folder} holds other files; pass a new folder for the index")


def _nothing_usable(sources: Sequence[Path], rejected: Sequence[Rejection]) -> str:
    names = ", ".join(str(source) for source in sources) or "the manifest"
    if not rejected:
        return f"{names}: no images found; expected PNG, JPEG, TIFF, BMP or WebP files"
    first = rejected[0]
    return (
        f"{names}: none of {len(rejected)} images can be used, and nothing was changed; "
        f"the first: {first.path}: {first.reason}"
    )


def _libraries() -> dict[str, Any]:
    names = ("histo-index", "numpy", "pyarrow", "pillow")
    return {name: version(name) for name in names}
