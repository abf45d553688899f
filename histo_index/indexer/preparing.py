"""The folder of an index before a build: made, or refused if it is something else."""

from pathlib import Path

from histo_index.errors import InputError
from histo_index.indexer import derive as search_files
from histo_index.indexer import encoder_copy
from histo_index.indexer import shards as shard_files
from histo_index.indexer.atomic import TEMPORARY_PREFIX, make_folder
from histo_index.indexer.commit import PLAN_NAME
from histo_index.indexer.lock import LOCK_NAME
from histo_index.indexer.manifest import MANIFEST_NAME, read_manifest


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


def _is_ours(name: str) -> bool:
    """Tell whether an interrupted first build may have left a name."""
    folders = (encoder_copy.FOLDER, shard_files.FOLDER, search_files.FOLDER)
    return name in (LOCK_NAME, PLAN_NAME, *folders) or name.startswith(
        (TEMPORARY_PREFIX, "rejected-")
    )
