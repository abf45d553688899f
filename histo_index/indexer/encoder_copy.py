"""Keep the encoder's files inside the index, so that the folder alone answers for new images."""

import shutil
from pathlib import Path

from histo_index.indexer.atomic import publishing
from histo_index.indexer.checksums import file_checksum
from histo_index.indexer.manifest import FileRecord
from histo_index.indexer.shards import record_file


def copy_files(source: Path, folder: Path, name: str) -> dict[str, FileRecord]:
    """Copy the files of a folder, not the folders in it, into a folder of the index.

    Args:
        source: where they lie.
        folder: the index.
        name: of the folder in it.

    Returns:
        Role to file: `<name>/<file>`.

    Raises:
        OSError: a file cannot be read or written.
    """
    records = {}
    for file in sorted(path for path in source.iterdir() if path.is_file()):
        target = folder / name / file.name
        with publishing(target) as temporary:
            shutil.copyfile(file, temporary)
        records[f"{name}/{file.name}"] = record_file(folder, target)
    return records


def is_whole(folder: Path, record: FileRecord) -> bool:
    """Tell whether a file is as it was written."""
    path = folder / record.path
    return (
        path.is_file()
        and path.stat().st_size == record.bytes
        and file_checksum(path) == record.checksum
    )
