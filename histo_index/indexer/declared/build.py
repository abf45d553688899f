"""Build an index from embeddings that were computed elsewhere; nothing is encoded."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import chain
from pathlib import Path

from histo_index.errors import InputError
from histo_index.files import remove_leftovers
from histo_index.indexer.declared.encoder import DeclaredRuntime
from histo_index.indexer.declared.given import DeclaredConfig, GivenEmbeddings
from histo_index.indexer.declared.shard_writer import ShardWriter, choose_shard_rows
from histo_index.indexer.declared.stored import Leaving, StoredRows, split_shards
from histo_index.indexer.format.encoder_card import EncoderCard
from histo_index.indexer.format.lock import writer_lock
from histo_index.indexer.format.manifest import MANIFEST_NAME, Manifest, read_manifest
from histo_index.indexer.format.records import (
    DIFFUSED,
    FileRecord,
    SearchConfig,
    Settings,
    read_record,
)
from histo_index.indexer.format.removed import read_removed
from histo_index.indexer.format.shards import Receipt, Rejection
from histo_index.indexer.writing.commit import clean_up, commit, finished_shards
from histo_index.indexer.writing.draft import draft_manifest, is_unchanged, root_of
from histo_index.indexer.writing.folder import ENCODER_FOLDER, prepare_folder, undoing_first_build
from histo_index.progress import report


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
    """Build an index from embeddings, or bring it up to date.

    Shards whose rows all stay are not written again, nor are those of an interrupted build.

    Args:
        config: where and how.
        given: the tiles.

    Raises:
        InputError: there is an index in the folder that is not to be changed, or it holds other
            things, or no tile is usable.
        MismatchError: the index is of another encoder or size.
        LockedError: another process is writing there.
        OSError: the disk is full or not writable; the old state stands.
    """
    folder = config.output
    if given.stored is None:
        require_new(folder)
    encode = DeclaredRuntime(given.encoder, size=given.size, folder=folder / ENCODER_FOLDER)
    is_new = not folder.exists()
    prepare_folder(folder)
    with (
        writer_lock(folder),
        undoing_first_build(folder, encode.folder, is_new=is_new),
    ):
        current = None if given.stored is None else read_manifest(folder)
        if given.stored is not None and current is not None:
            given.stored.require_present(folder, current, encode.fingerprint)
        return _build(config, given, encode, current)


def _build(
    config: DeclaredConfig,
    given: GivenEmbeddings,
    encode: DeclaredRuntime,
    current: Manifest | None,
) -> Manifest:
    folder = config.output
    remove_leftovers(folder)
    finished = finished_shards(folder, encode.fingerprint)
    leaving = Leaving(read_removed(folder, current), config.private)
    shard_rows = choose_shard_rows(encode.embedding_size)
    kept: list[Receipt] = []
    again: list[StoredRows] = []
    if given.stored is not None:
        kept, again = split_shards(
            folder,
            given.stored,
            finished,
            leaving.removed,
            shard_rows=shard_rows if given.total else None,
        )
    writer = ShardWriter(
        folder,
        encode,
        {shard.receipt.shard_id: shard.receipt for shard in finished},
        leaves_out=leaving,
    )
    with closing(writer):
        receipts, rejected = _write_sources(writer, again, given)
    if not any(receipt.rows for receipt in (*kept, *receipts)):
        raise InputError(_nothing(rejected))
    draft = draft_manifest(
        folder,
        [*kept, *receipts],
        encoder=read_record(EncoderCard, encode.card()),
        encoder_files=leaving.record(folder, current),
        rejected=len(rejected),
        sources=(),
        settings=_settings(config, encode, writer.shard_rows),
    )
    by_id = {shard.receipt.shard_id: shard.rows for shard in finished}
    dead = sum(int(leaving.removed.find(by_id[receipt.shard_id]).sum()) for receipt in kept)
    draft = replace(draft, tiles=draft.tiles - dead)
    if current is not None and not given.total:
        draft = _with_encoder(draft, current)
    generation = current.generation + 1 if current else 1
    remembered = given.remember(folder, generation, rejected)
    # What was read belongs to a new generation: the next import compares with the last one.
    is_read = bool(given.total)
    if current is not None and not is_read and _is_same(folder, current, draft, remembered):
        manifest = current
    else:
        draft = replace(draft, files={**draft.files, **remembered})
        manifest = commit(folder, draft, current=current, rejected=rejected)
    clean_up(folder, manifest)
    return manifest


def _is_same(
    folder: Path, current: Manifest, draft: Manifest, remembered: Mapping[str, FileRecord]
) -> bool:
    """Return whether there is nothing new, also in what the next import is to remember."""
    before = {role: current.files[role].checksum for role in remembered if role in current.files}
    return (
        is_unchanged(folder, current, draft)
        and before == {role: record.checksum for role, record in remembered.items()}
        and current.rejected == draft.rejected
    )


def _with_encoder(draft: Manifest, current: Manifest) -> Manifest:
    """Keep the encoder that was verified; it vouches for no row that is read after that."""
    files = {r: f for r, f in current.files.items() if r.startswith(f"{ENCODER_FOLDER}/")}
    return replace(draft, encoder=current.encoder, files={**draft.files, **files})


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
    writer: ShardWriter, again: Sequence[StoredRows], given: GivenEmbeddings
) -> tuple[list[Receipt], list[Rejection]]:
    """Write all sources, but for those that end in an error."""
    rejected, done = list(given.rejected), 0
    total = None if given.total is None else given.total + sum(int(s.mask.sum()) for s in again)
    for source in chain(again, given.sources):
        rows_rejected: list[Rejection] = []
        try:
            for rows in source.blocks():
                writer.add(rows)
                rows_rejected += rows.rejected
                done += len(rows.tiles)
                report("writing", done, total)
        except InputError as error:
            writer.drop()
            reason = str(error).removeprefix(f"{source.name}: ")
            rejected.append(Rejection(path=source.name, reason=reason))
        else:
            writer.keep()
            rejected += rows_rejected
    receipts = writer.finish()
    report("writing", done, total)
    return receipts, rejected


def _nothing(rejected: Sequence[Rejection]) -> str:
    if not rejected:
        return "no embeddings; expected a row for each tile"
    return f"no embedding can be used; the first: {rejected[0].path}: {rejected[0].reason}"
