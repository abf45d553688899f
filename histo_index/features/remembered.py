"""What an index remembers of its import: inputs, options, and the state of each file."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from histo_index.errors import InputError
from histo_index.features.containers.part import Facts
from histo_index.files import publish_bytes
from histo_index.indexer.format.checksums import DamagedError
from histo_index.indexer.format.manifest import FEATURES, FORMAT_VERSION, Manifest
from histo_index.indexer.format.records import FileRecord, read_record
from histo_index.indexer.format.shards import record_file
from histo_index.indexer.format.signed_json import seal, unseal

_KIND: Final = "histo-index features"
_REMEDY: Final = "restore it from a copy, or import into a new folder"


@dataclass(frozen=True, kw_only=True)
class FileState:
    """A file as it was when it was described.

    Attributes:
        path: relative to the index folder.
        bytes: its size, with what is read beside it; of a Zarr store, that of all its files.
        times_ns: when these were last changed, added up.
        parts: what it holds.
    """

    path: str
    bytes: int
    times_ns: int
    parts: tuple[Facts, ...]


@dataclass(frozen=True, kw_only=True)
class ReadMatrix:
    """A matrix whose rows are in the index.

    Attributes:
        key: what its rows are recognised by: the column `features_file`.
        digest: over all that its rows follow from.
        rows: how many of its rows can be used.
        rejected: why some of its rows were left out, a line each.
    """

    key: str
    digest: str
    rows: int
    rejected: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Remembered:
    """An import, with paths relative to the index folder.

    Attributes:
        inputs: files and folders.
        slides: the folder of the slides.
        slide_mpp: name of a slide to microns per level-0 pixel.
        metadata: the table of slides or tiles.
        encoder_name: what the user named the encoder; None if the files did.
        files: the state of each file.
        matrices: what the rows were read from.
    """

    inputs: tuple[str, ...]
    slides: str | None
    slide_mpp: Mapping[str, float]
    metadata: str | None
    encoder_name: str | None
    files: tuple[FileState, ...]
    matrices: tuple[ReadMatrix, ...]


def write_remembered(
    folder: Path, found: Remembered, *, generation: int
) -> Mapping[str, FileRecord]:
    """Write what the next import needs: role to file."""
    path = folder / features_name(generation)
    publish_bytes(path, seal(_KIND, asdict(found), version=FORMAT_VERSION))
    return {FEATURES: record_file(folder, path)}


def features_name(generation: int) -> str:
    """Name the file of a generation."""
    return f"{FEATURES}-{generation:06d}.json"


def read_remembered(folder: Path, manifest: Manifest) -> Remembered:
    """Read what an index remembers of its import.

    Raises:
        InputError: it was not made by an import.
        IndexFormatError: the file is missing, damaged or of a newer version.
    """
    record = manifest.files.get(FEATURES)
    if record is None:
        raise InputError(f"{folder} holds an index that no import made; import into another folder")
    path = folder / record.path
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DamagedError(f"{path}: cannot be read ({error.strerror}); {_REMEDY}") from error
    body = unseal(path, data, kind=_KIND, newest=FORMAT_VERSION, remedy=_REMEDY)
    try:
        return read_record(Remembered, body)
    except ValueError as error:
        raise DamagedError(f"{path}: damaged: {error}; {_REMEDY}") from error


def read_states(path: Path) -> Iterator[tuple[int, int]]:
    """Read size and time of change, in nanoseconds, of a file or of each file of a store."""
    if not path.is_dir():
        state = path.stat()
        yield state.st_size, state.st_mtime_ns
        return
    for place, _, names in os.walk(path):
        for name in names:
            state = os.lstat(os.path.join(place, name))
            yield state.st_size, state.st_mtime_ns


def digest_of(values: Sequence[Any]) -> str:
    """Compute a digest of plain values and records."""
    text = json.dumps(values, default=lambda value: getattr(value, "__dict__", str(value)))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
