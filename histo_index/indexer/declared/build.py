"""Build an index from embeddings that were computed elsewhere; nothing is encoded."""

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from histo_index.errors import InputError
from histo_index.indexer.declared.encoder import DeclaredRuntime
from histo_index.indexer.declared.shard_writer import GivenRows, ShardWriter
from histo_index.indexer.format.encoder_card import EncoderCard
from histo_index.indexer.format.lock import writer_lock
from histo_index.indexer.format.manifest import MANIFEST_NAME, Manifest
from histo_index.indexer.format.records import DIFFUSED, SearchConfig, Settings, read_record
from histo_index.indexer.format.shards import Receipt, Rejection
from histo_index.indexer.transform.transform import require_distance
from histo_index.indexer.writing.commit import clean_up, commit, finished_shards
from histo_index.indexer.writing.draft import draft_manifest, root_of
from histo_index.indexer.writing.folder import ENCODER_FOLDER, prepare_folder, undoing_first_build
from histo_index.progress import report


class GivenSource(Protocol):
    """Tiles of one file, with their embeddings.

    Attributes:
        name: of the file, for the list of what was rejected.
    """

    @property
    def name(self) -> str: ...

    def blocks(self) -> Iterable[GivenRows]:
        """Read the rows, block by block.

        Raises:
            InputError: the file cannot be used after all; rows that were read do not count.
        """


@dataclass(frozen=True, kw_only=True)
class GivenEmbeddings:
    """What an index is built from.

    Attributes:
        encoder: what the user calls the encoder.
        size: D, the length of an embedding.
        sources: the tiles; each is read once, in order.
        rejected: inputs that were not even read.
        total: how many tiles there are, for reports of progress.
    """

    encoder: str
    size: int
    sources: Iterable[GivenSource]
    rejected: tuple[Rejection, ...] = ()
    total: int | None = None


@dataclass(frozen=True, kw_only=True)
class DeclaredConfig:
    """Where and how an index is built from embeddings.

    Attributes:
        output: the index folder, which must not hold an index yet.
        root: the folder that paths of tiles start from; None is the working directory.
        distance: `diffused` or `plain`; None is diffused.
        search: how the index is to be searched; None chooses by its size.
        private: columns that are private.
    """

    output: Path
    root: Path | None = None
    distance: str | None = None
    search: SearchConfig | None = None
    private: tuple[str, ...] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        require_distance(self.distance)


def require_new(folder: Path) -> None:
    """Check that a folder holds no index.

    Raises:
        InputError: it does.
    """
    if (folder / MANIFEST_NAME).exists():
        raise InputError(
            f"{folder} holds an index already; delete the folder, or pass another output"
        )


def build_from_embeddings(config: DeclaredConfig, given: GivenEmbeddings) -> Manifest:
    """Build an index from embeddings; shards of an interrupted build are not written again.

    Args:
        config: where and how.
        given: the tiles.

    Raises:
        InputError: there is an index in the folder, or it holds other things, or no tile is usable.
        LockedError: another process is writing there.
        OSError: the disk is full or not writable.
    """
    folder = config.output
    require_new(folder)
    encode = DeclaredRuntime(given.encoder, size=given.size, folder=folder / ENCODER_FOLDER)
    is_new = not folder.exists()
    prepare_folder(folder)
    with (
        writer_lock(folder),
        undoing_first_build(folder, encode.folder, is_new=is_new),
    ):
        before = finished_shards(folder, encode.fingerprint)
        finished = {shard.receipt.shard_id: shard.receipt for shard in before}
        writer = ShardWriter(folder, encode, finished)
        with closing(writer):
            receipts, rejected = _write_sources(writer, given)
        if not receipts:
            raise InputError(_nothing(rejected))
        draft = draft_manifest(
            folder,
            receipts,
            encoder=read_record(EncoderCard, encode.card()),
            encoder_files={},
            rejected=len(rejected),
            sources=(),
            settings=_settings(config, encode, writer.shard_rows),
        )
        manifest = commit(folder, draft, current=None, rejected=rejected)
        clean_up(folder, manifest)
        return manifest


def _settings(config: DeclaredConfig, encode: DeclaredRuntime, shard_rows: int) -> Settings:
    return Settings(
        shard_rows=shard_rows,
        max_pixels=encode.max_pixels,
        root=root_of(config.root or Path.cwd(), config.output),
        search=config.search or SearchConfig(),
        distance=config.distance or DIFFUSED,
        private=config.private,
    )


def _write_sources(
    writer: ShardWriter, given: GivenEmbeddings
) -> tuple[list[Receipt], list[Rejection]]:
    """Write all sources, but for those that end in an error."""
    rejected, done = list(given.rejected), 0
    for source in given.sources:
        rows_rejected: list[Rejection] = []
        try:
            for rows in source.blocks():
                writer.add(rows)
                rows_rejected += rows.rejected
                done += len(rows.tiles)
                report("writing", done, given.total)
        except InputError as error:
            writer.drop()
            reason = str(error).removeprefix(f"{source.name}: ")
            rejected.append(Rejection(path=source.name, reason=reason))
        else:
            writer.keep()
            rejected += rows_rejected
    return writer.finish(), rejected


def _nothing(rejected: Sequence[Rejection]) -> str:
    if not rejected:
        return "no embeddings; expected a row for each tile"
    return f"no embedding can be used; the first: {rejected[0].path}: {rejected[0].reason}"
