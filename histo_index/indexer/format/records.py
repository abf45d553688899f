"""The records of a manifest, and how one is read from JSON, each field checked by its type."""

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, TypeVar

from histo_index.errors import InputError
from histo_index.slides.tiling.options import SlideSource

# How vectors are compared: squared Euclidean distance of embeddings as stored, or of whitened ones
# joined with diffusion coordinates.
PLAIN: Final = "plain"
DIFFUSED: Final = "diffused"
# Which field of an encoder's card publishes the threshold of each distance.
THRESHOLDS: Final = {DIFFUSED: "diffused_threshold", PLAIN: "threshold"}

_Record = TypeVar("_Record")


@dataclass(frozen=True, kw_only=True)
class FileRecord:
    """A file of the index as it was when it was written.

    Attributes:
        path: relative to the index folder, POSIX form.
        bytes: its size.
        checksum: XXH3-128 over its content.
    """

    path: str
    bytes: int
    checksum: str


@dataclass(frozen=True, kw_only=True)
class ShardRecord:
    """A shard: a Parquet file of embeddings and the receipt of the task that wrote it.

    Attributes:
        shard_id: hex digest of the task; part of the file's name.
        rows: embeddings in it.
        file: the Parquet file.
        receipt: JSON beside it: rows, checksum and the task's rejected tiles.
        runtime: name, device and precision of what computed the embeddings.
    """

    shard_id: str
    rows: int
    file: FileRecord
    receipt: FileRecord
    runtime: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class SourceRecord:
    """What one `build` or `build --add` named, kept so that a later build can list it again.

    Paths are relative to the index folder, so that both can move; on Windows they are absolute
    where the tiles lie on another drive.

    Attributes:
        paths: folders and image files; empty where the manifest was all that was named.
        manifest: the table that lists the tiles; None if there is none.
        base: the folder that image ids and the paths of the manifest start from.
        prefix: what image ids of this source begin with; empty for the first source.
        columns: metadata columns that the manifest has.
        slides: how slides are cut; None if slides are no tiles.
    """

    paths: tuple[str, ...]
    manifest: str | None
    base: str
    prefix: str
    columns: tuple[str, ...]
    slides: SlideSource | None


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """How to search an index.

    Attributes:
        structure: a FAISS factory string, or `exact`; None chooses by the number of tiles.
        recall: share of the true ten nearest to find, measured on the index.
        memory_bytes: largest size of the ANN index; the mapped vectors are not counted.

    Raises:
        InputError: recall or memory are out of range.
    """

    structure: str | None = None
    recall: float = 0.99
    memory_bytes: int = 4_000_000_000

    def __post_init__(self) -> None:
        if not 0 < self.recall < 1:
            raise InputError(f"recall is {self.recall}; expected more than 0 and less than 1")
        if not self.memory_bytes > 0:
            raise InputError(f"memory is {self.memory_bytes} bytes; expected more than none")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The options of a build that can change what is in the index.

    Attributes:
        shard_rows: tiles per shard.
        max_pixels: larger images are rejected.
        root: the folder that tile paths start from, relative to the index folder.
        search: how to search.
        distance: the distance asked for; an index of few tiles is plain whatever is asked.
        private: columns shown only on request, sorted.
    """

    shard_rows: int
    max_pixels: int
    root: str
    search: SearchConfig
    distance: str
    private: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class AnnStructure:
    """The ANN index that proposes neighbours, and how well it was measured to do so.

    Attributes:
        factory: FAISS factory string.
        effort: lists or nodes searched per query.
        candidates: rows compared exactly per query.
        recall: share of the ten nearest found, on a sample.
        queries_per_second: measured on the same sample.
        exact_queries_per_second: of exact search, measured on the same sample.
        bytes: size of the file.
        seconds_to_make: time to train, fill and tune it.
        tiles: N when it was trained and measured.
        added: rows added since.
    """

    factory: str
    effort: int
    candidates: int
    recall: float
    queries_per_second: int
    exact_queries_per_second: float
    bytes: int
    seconds_to_make: float
    tiles: int
    added: int


@dataclass(frozen=True, kw_only=True)
class FittedDistance:
    """A distance that was fitted to the index.

    Attributes:
        name: `diffused`.
        tiles: N when it was fitted.
        fitted_on: how many of these tiles it was fitted on.
        size: V, the length of a vector.
    """

    name: str
    tiles: int
    fitted_on: int
    size: int


def read_record(record: type[_Record], value: Any) -> _Record:
    """Read a record from JSON.

    Args:
        record: a dataclass.
        value: the JSON value.

    Raises:
        ValueError: a field is missing, unknown, or has a wrong type or value; names the field.
    """
    kind: Any = record
    found: _Record = _reader(kind)(value, "")
    return found


_Reader = Callable[[Any, str], Any]


@cache
def _reader(kind: Any) -> _Reader:
    """Return the function that checks a value of a type: (value, its name) to the value."""
    if dataclasses.is_dataclass(kind):
        return _record_reader(kind)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        (inner,) = (_reader(argument) for argument in arguments if argument is not type(None))
        return lambda value, name: None if value is None else inner(value, name)
    if origin is tuple:
        item = _reader(arguments[0])
        checked = _scalar_reader(list)
        return lambda value, name: tuple(item(part, name) for part in checked(value, name))
    if origin is Mapping:
        entry, mapping = _reader(arguments[1]), _scalar_reader(dict)
        return lambda value, name: {
            key: entry(part, f"{name}.{key}") for key, part in mapping(value, name).items()
        }
    return _scalar_reader(kind)


def _scalar_reader(kind: type) -> _Reader:
    # JSON writes 1.0 as 1 in some languages; a boolean is no number.
    allowed = (float, int) if kind is float else (kind,)

    def read(value: Any, name: str) -> Any:
        if type(value) not in allowed:
            raise ValueError(f"{name}: {value!r}, expected {kind.__name__}")
        return value

    return read


def _record_reader(record: Any) -> _Reader:
    hints = typing.get_type_hints(record)
    readers = {field.name: _reader(hints[field.name]) for field in dataclasses.fields(record)}
    mapping = _scalar_reader(dict)

    def read(value: Any, name: str) -> Any:
        body = mapping(value, name or "document")
        prefix = f"{name}." if name else ""
        for field in sorted(readers.keys() ^ body.keys()):
            problem = "missing" if field in readers else "unknown field"
            raise ValueError(f"{prefix}{field}: {problem}")
        return record(**{key: reader(body[key], prefix + key) for key, reader in readers.items()})

    return read
