"""Build an index from embeddings that were computed elsewhere; nothing is encoded."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from histo_index.arrays import Float16
from histo_index.errors import InputError
from histo_index.indexer.declared.encoder import DeclaredRuntime, GivenTile, content_of
from histo_index.indexer.format.lock import writer_lock
from histo_index.indexer.format.manifest import MANIFEST_NAME, Manifest
from histo_index.indexer.format.records import (
    DIFFUSED,
    EncoderCard,
    SearchConfig,
    Settings,
    read_record,
)
from histo_index.indexer.format.shards import Receipt
from histo_index.indexer.private import PrivateColumns
from histo_index.indexer.transform.transform import require_distance
from histo_index.indexer.writing.commit import clean_up, commit, finished_shards
from histo_index.indexer.writing.draft import draft_manifest, root_of
from histo_index.indexer.writing.folder import ENCODER_FOLDER, prepare_folder, undoing_first_build
from histo_index.indexer.writing.plan import in_row_order, make_plan
from histo_index.indexer.writing.rate import MOST_ROWS
from histo_index.indexer.writing.shard_tasks import EmbeddingStore, Step, run_tasks
from histo_index.progress import report


@dataclass(frozen=True, kw_only=True)
class GivenEmbeddings:
    """Tiles that came with their embeddings.

    Attributes:
        ids: distinct image ids, [N].
        embeddings: float16 [N, D], rows of unit length.
        metadata: the user's columns, a row per tile, of types that an index keeps.
        encoder: what the user calls the encoder.
    """

    ids: Sequence[str]
    embeddings: Float16
    metadata: pa.Table
    encoder: str


@dataclass(frozen=True, kw_only=True)
class DeclaredConfig:
    """Where and how an index is built from embeddings.

    Attributes:
        output: the index folder, which must not hold an index yet.
        distance: `diffused` or `plain`; None is diffused.
        search: how the index is to be searched; None chooses by its size.
        private: which columns are private.
    """

    output: Path
    distance: str | None = None
    search: SearchConfig | None = None
    private: PrivateColumns = field(default_factory=PrivateColumns)

    def __post_init__(self) -> None:
        require_distance(self.distance)


def build_from_embeddings(config: DeclaredConfig, given: GivenEmbeddings) -> Manifest:
    """Build an index from embeddings; an interrupted build goes on from its last shard.

    Args:
        config: where and how.
        given: the tiles.

    Raises:
        InputError: there is an index in the folder, or it holds other things.
        LockedError: another process is writing there.
        OSError: the disk is full or not writable.
    """
    folder = config.output
    if (folder / MANIFEST_NAME).exists():
        raise InputError(
            f"{folder} holds an index already; delete the folder, or pass another output"
        )
    encode = DeclaredRuntime(
        given.encoder, size=given.embeddings.shape[1], folder=folder / ENCODER_FOLDER
    )
    is_new = not folder.exists()
    prepare_folder(folder)
    with (
        writer_lock(folder),
        undoing_first_build(folder, encode.folder, is_new=is_new),
    ):
        receipts = _write_shards(folder, given, encode)
        draft = draft_manifest(
            folder,
            receipts,
            encoder=read_record(EncoderCard, encode.card()),
            encoder_files={},
            rejected=0,
            sources=(),
            settings=Settings(
                shard_rows=MOST_ROWS,
                max_pixels=encode.max_pixels,
                root=root_of(Path.cwd(), folder),
                search=config.search or SearchConfig(),
                distance=config.distance or DIFFUSED,
                private=tuple(config.private.settle(None, given.metadata.column_names)),
            ),
        )
        manifest = commit(folder, draft, current=None, rejected=[])
        clean_up(folder, manifest)
        return manifest


def _write_shards(folder: Path, given: GivenEmbeddings, encode: DeclaredRuntime) -> list[Receipt]:
    """Write the shards that an interrupted build has not finished, in row order."""
    contents = [content_of(embedding) for embedding in given.embeddings]
    ids = pa.array(given.ids, pa.string())
    wanted = pa.table(
        {
            "image_id": ids,
            "path": ids,
            "sha256": pa.array(contents, pa.string()),
            **{name: given.metadata[name] for name in given.metadata.column_names},
        }
    )
    finished = finished_shards(folder, encode.fingerprint)
    plan = make_plan(
        wanted,
        finished,
        known_rejected=[],
        fingerprint=encode.fingerprint,
        max_pixels=encode.max_pixels,
        shard_rows=MOST_ROWS,
    )
    done, total = 0, sum(len(task.tiles) for task in plan.tasks)
    at = {image_id: row for row, image_id in enumerate(given.ids)}
    store = EmbeddingStore(folder, finished)
    located = store.locate(plan.tasks)
    tiles = (
        GivenTile(embedding=given.embeddings[at[image_id]], sha256=contents[at[image_id]])
        for task, found in zip(plan.tasks, located, strict=True)
        for image_id, position in zip(task.tiles["image_id"].to_pylist(), found, strict=True)
        if position < 0
    )

    def tell(step: Step) -> None:
        nonlocal done
        done += 1
        report("writing", done, total)

    written = run_tasks(
        plan.tasks, encode, store=store, folder=folder, root=folder, progress=tell, encoded=tiles
    )
    places_of = zip((task.position for task in plan.tasks), written, strict=True)
    kept = [(position, shard.receipt) for position, shard in plan.kept]
    return in_row_order([*places_of, *kept], None)
