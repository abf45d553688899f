"""Keep the encoder's files inside the index, so that the folder alone answers for new images."""

import shutil
from pathlib import Path
from typing import Final

from histo_index.indexer.atomic import publishing
from histo_index.indexer.checksums import file_checksum
from histo_index.indexer.manifest import FileRecord, Manifest
from histo_index.indexer.shards import record_file

FOLDER: Final = "encoder"


def keep_encoder(source: Path, folder: Path, current: Manifest | None) -> dict[str, FileRecord]:
    """Copy the encoder into the index, unless it is there and whole; see `copy_encoder`."""
    if current is not None:
        files = current.files
        records = {role: r for role, r in files.items() if role.startswith(f"{FOLDER}/")}
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
        target = folder / FOLDER / file.name
        with publishing(target) as temporary:
            shutil.copyfile(file, temporary)
        records[f"{FOLDER}/{file.name}"] = record_file(folder, target)
    return records


def _is_copied(path: Path) -> bool:
    return path.is_file() and path.suffix != ".pt" and not path.name.startswith(".")


def is_whole(folder: Path, record: FileRecord) -> bool:
    """Tell whether a file is as it was written."""
    path = folder / record.path
    return (
        path.is_file()
        and path.stat().st_size == record.bytes
        and file_checksum(path) == record.checksum
    )
