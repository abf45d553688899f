"""Prepare the folder of an index for a build, and undo that if a first build fails."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from histo_index.errors import IndexFormatError, InputError
from histo_index.files import (
    TEMPORARY_PREFIX,
    UNLOCKED_PREFIX,
    make_folder,
    publishing,
    remove_leftovers,
)
from histo_index.indexer.format import shards as shard_files
from histo_index.indexer.format import vector_file
from histo_index.indexer.format.checksums import file_checksum
from histo_index.indexer.format.lock import LOCK_NAME
from histo_index.indexer.format.manifest import (
    CALIBRATION_NAME,
    MANIFEST_NAME,
    MAP_NAME,
    MARKS_NAME,
    Manifest,
    read_manifest,
)
from histo_index.indexer.format.records import FileRecord
from histo_index.indexer.format.shards import record_file
from histo_index.indexer.hashing.cache import STATES_NAME
from histo_index.indexer.writing.commit import PLAN_NAME


def prepare_folder(folder: Path) -> None:
    """Create an index folder; refuse another kind of folder before anything is written to it.

    Raises:
        InputError: it is a file, or a folder that holds other things.
        IndexFormatError: its manifest is damaged, too new, or no manifest of an index.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; pass a folder for the index, such as tiles.hx")
    make_folder(folder)
    names = {path.name for path in folder.iterdir()}
    if MANIFEST_NAME in names:
        read_manifest(folder)
        return
    # The lock comes first and stays; a copy may lack it, but not the receipts.
    is_begun = LOCK_NAME in names or any((folder / shard_files.FOLDER).glob("part-*.json"))
    foreign = {name for name in names if not is_begun or not _is_ours(name)}
    if foreign:
        raise InputError(
            f"{folder} is no index and holds other files ({min(foreign)}); pass a new folder"
        )


@contextmanager
def undoing_first_build(folder: Path, encoder: Path, *, is_new: bool) -> Iterator[None]:
    """Remove the folder if the build in it fails before one embedding is finished.

    Only what a build writes is removed; with anything else in it the folder stays.

    Args:
        folder: the index, locked.
        encoder: the encoder folder, whose files are copied.
        is_new: this build made the folder.
    """
    try:
        yield
    except BaseException:
        # Report the error of the build, not a failed clean-up.
        with suppress(OSError, IndexFormatError):
            if is_new and not _holds_work(folder):
                _remove_begun(folder, encoder)
        raise


def _holds_work(folder: Path) -> bool:
    receipts = (folder / shard_files.FOLDER).glob("part-*.json")
    return (folder / MANIFEST_NAME).exists() or any(
        shard_files.read_receipt(path).rows for path in receipts
    )


def _remove_begun(folder: Path, encoder: Path) -> None:
    copies, shards = folder / ENCODER_FOLDER, folder / shard_files.FOLDER
    remove_leftovers(folder)
    for path in (
        *(copies / file.name for file in (encoder.iterdir() if encoder.is_dir() else ())),
        *shards.glob("part-*.json"),
        *shards.glob("part-*.parquet"),
        folder / PLAN_NAME,
        folder / STATES_NAME,
    ):
        path.unlink(missing_ok=True)
    for inner in (copies, shards):
        if inner.is_dir() and not any(inner.iterdir()):
            inner.rmdir()
    # By its lock a begun index is recognised: it goes with the folder or stays.
    if {path.name for path in folder.iterdir()} == {LOCK_NAME}:
        (folder / LOCK_NAME).unlink()
        folder.rmdir()


def _is_ours(name: str) -> bool:
    """Return whether a file name can belong to an index."""
    folders = (ENCODER_FOLDER, shard_files.FOLDER, vector_file.FOLDER)
    files = (LOCK_NAME, PLAN_NAME, STATES_NAME, CALIBRATION_NAME, MAP_NAME, MARKS_NAME)
    temporary = (TEMPORARY_PREFIX, UNLOCKED_PREFIX)
    beginnings = (*temporary, "rejected-", "removed-", "transform-", "features-")
    return name in (*files, *folders) or name.startswith(beginnings)


ENCODER_FOLDER: Final = "encoder"


def keep_encoder(source: Path, folder: Path, current: Manifest | None) -> dict[str, FileRecord]:
    """Copy the encoder into the index, unless it is there and whole; see `copy_encoder`."""
    if current is not None:
        files = current.files
        records = {role: r for role, r in files.items() if role.startswith(f"{ENCODER_FOLDER}/")}
        if all(is_whole(folder, record) for record in records.values()):
            return records
    return copy_encoder(source, folder)


def copy_encoder(source: Path, folder: Path) -> dict[str, FileRecord]:
    """Copy the files of an encoder folder.

    Folders in it stay behind, as do hidden files and pickles (`.pt`): no part of an encoder, but of
    a training run that is not finished.

    Args:
        source: the encoder folder.
        folder: the index.

    Returns:
        Role to file: `encoder/<file>`.

    Raises:
        OSError: a file cannot be read or written.
    """
    records = {}
    for file in sorted(path for path in source.iterdir() if _is_copied(path)):
        target = folder / ENCODER_FOLDER / file.name
        with publishing(target) as temporary:
            shutil.copyfile(file, temporary)
        records[f"{ENCODER_FOLDER}/{file.name}"] = record_file(folder, target)
    return records


def _is_copied(path: Path) -> bool:
    return path.is_file() and path.suffix != ".pt" and not path.name.startswith(".")


def is_whole(folder: Path, record: FileRecord) -> bool:
    """Return whether a file is as it was written."""
    path = folder / record.path
    return (
        path.is_file()
        and path.stat().st_size == record.bytes
        and file_checksum(path) == record.checksum
    )
