"""`manifest.json`: the commit point of an index. What it names is the index; nothing else is."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from histo_index.errors import IndexFormatError
from histo_index.files import publish_bytes
from histo_index.indexer.format.signed_json import seal, unseal

# One more with every change of what is written, however small; see docs/format.md.
FORMAT_VERSION: Final = 1
MANIFEST_NAME: Final = "manifest.json"
# Role of the record of what was removed.
REMOVED: Final = "removed"
# Nothing else says which tiles were removed.
REMOVED_REMEDY: Final = (
    "restore it from a copy, or delete it and manifest.json, run `histo-index build` again, which "
    "keeps the shards, and `remove` again"
)
# Role of the file that turns embeddings into the vectors that are compared.
TRANSFORM: Final = "transform"
_OLD_TRANSFORM: Final = "whitening"  # in version 3
# How vectors are compared: squared Euclidean distance of embeddings as stored, of whitened ones, or
# of whitened ones joined with diffusion coordinates.
PLAIN: Final = "plain"
WHITENED: Final = "whitened"
DIFFUSED: Final = "diffused"
# Where an encoder's card publishes the threshold of each.
THRESHOLDS: Final = {
    DIFFUSED: "diffused_threshold",
    WHITENED: "whitened_threshold",
    PLAIN: "threshold",
}
# What `search` keeps beside the manifest.
CALIBRATION_NAME: Final = "calibration.json"
_KIND: Final = "histo-index"
_REMEDY: Final = (
    "restore it from a copy, or delete it and run `histo-index build` again, which keeps the shards"
)


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
        shard_id: hex digest of the task; the file's name is made of it.
        rows: embeddings in it.
        file: the Parquet file.
        receipt: JSON beside it: rows, checksum and the task's rejected tiles.
        runtime: what computed the embeddings.
    """

    shard_id: str
    rows: int
    file: FileRecord
    receipt: FileRecord
    runtime: Mapping[str, Any]


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
    """

    paths: tuple[str, ...]
    manifest: str | None
    base: str
    prefix: str
    columns: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """One committed state of an index.

    Attributes:
        generation: 1 for the first commit, then one more each.
        created: when it was committed, UTC, ISO 8601.
        encoder: fingerprint, architecture, embedding size and whether it is trained.
        tiles: how many tiles the index has, those that were removed not counted.
        rejected: how many inputs could not be used.
        shards: in row order.
        files: every other file, by its role: `rows`, `vectors`, `blocks`, `rejected`,
            `encoder/...`, and where there are such `candidates`, `removed` and `transform`.
        settings: the options of the build that can change what is in the index.
        sources: what the tiles come from, in the order in which they were added.
        libraries: name to version of what wrote it.
        structure: how it is searched, and what that was measured to be worth; empty in version 1.
        distance: what vectors are compared by, and what that was fitted on; empty before version 3,
            which knew no other than plain.
    """

    generation: int
    created: str
    encoder: Mapping[str, Any]
    tiles: int
    rejected: int
    shards: tuple[ShardRecord, ...]
    files: Mapping[str, FileRecord]
    settings: Mapping[str, Any]
    libraries: Mapping[str, str]
    sources: tuple[SourceRecord, ...] = ()
    structure: Mapping[str, Any] = field(default_factory=dict)
    distance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """The encoder's fingerprint."""
        return str(self.encoder["fingerprint"])

    @property
    def embedding_size(self) -> int:
        """D, the length of an embedding."""
        return int(self.encoder["embedding_size"])

    @property
    def rows(self) -> int:
        """N, rows over all shards, those of removed tiles counted."""
        return sum(shard.rows for shard in self.shards)

    @property
    def vector_size(self) -> int:
        """Length of a vector, which is what is compared."""
        return int(self.distance.get("size", self.embedding_size))

    @property
    def distance_kind(self) -> str:
        """`plain`, `whitened` or `diffused`."""
        return str(self.distance.get("name", PLAIN))

    @property
    def distance_name(self) -> str:
        """What distances must share to be compared: their kind, and by which fit."""
        transform = self.files.get(TRANSFORM)
        return PLAIN if transform is None else f"{self.distance_kind} {transform.checksum}"

    @property
    def private_columns(self) -> tuple[str, ...]:
        """Columns of the user that are shown only on request."""
        return tuple(self.settings.get("private", ()))

    def records(self) -> list[FileRecord]:
        """List every file that belongs to this generation."""
        shards = [record for shard in self.shards for record in (shard.file, shard.receipt)]
        return shards + list(self.files.values())


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Commit: from here on readers see this generation."""
    publish_bytes(folder / MANIFEST_NAME, seal(_KIND, asdict(manifest), version=FORMAT_VERSION))


def read_manifest(folder: Path) -> Manifest:
    """Read and check the manifest.

    Raises:
        IndexFormatError: there is none, it is damaged, or of a newer version.
    """
    path = folder / MANIFEST_NAME
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise IndexFormatError(_no_index(folder)) from error
    except OSError as error:
        raise IndexFormatError(
            f"{path}: cannot be read ({error.strerror}); check its permissions"
        ) from error
    body = unseal(path, data, kind=_KIND, newest=FORMAT_VERSION, remedy=_REMEDY)
    return _parse(body)


def _parse(body: dict[str, Any]) -> Manifest:
    shards = tuple(
        ShardRecord(
            shard_id=shard["shard_id"],
            rows=shard["rows"],
            file=FileRecord(**shard["file"]),
            receipt=FileRecord(**shard["receipt"]),
            runtime=shard["runtime"],
        )
        for shard in body.pop("shards")
    )
    files = {role: FileRecord(**record) for role, record in body.pop("files").items()}
    if _OLD_TRANSFORM in files:
        files[TRANSFORM] = files.pop(_OLD_TRANSFORM)
    sources = tuple(parse_source(source) for source in body.pop("sources", ()))
    return Manifest(shards=shards, files=files, sources=sources, **body)


def parse_source(record: Mapping[str, Any]) -> SourceRecord:
    """Read a source from JSON, where tuples are lists."""
    return SourceRecord(
        paths=tuple(record["paths"]),
        manifest=record["manifest"],
        base=record["base"],
        prefix=record["prefix"],
        columns=tuple(record["columns"]),
    )


def _no_index(folder: Path) -> str:
    if not folder.exists():
        return f"{folder}: no such index; make one with `histo-index build TILES -o {folder}`"
    if not folder.is_dir():
        return f"{folder} is not an index folder; pass the folder that `histo-index build -o` made"
    return (
        f"{folder} holds no finished index; run `histo-index build` (again, if it was interrupted)"
    )
