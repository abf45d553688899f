"""`manifest.json`: the commit point of an index. What it names is the index; nothing else is."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from histo_index.errors import IndexFormatError, InputError
from histo_index.files import publish_bytes
from histo_index.indexer.format.checksums import DamagedError
from histo_index.indexer.format.encoder_card import EncoderCard
from histo_index.indexer.format.records import (
    PLAIN,
    AnnStructure,
    FileRecord,
    FittedDistance,
    Settings,
    ShardRecord,
    SourceRecord,
    read_record,
)
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
# Role of the record of an import of features.
FEATURES: Final = "features"
# Role of the file that turns embeddings into the vectors that are compared.
TRANSFORM: Final = "transform"
# What `search` keeps beside the manifest.
CALIBRATION_NAME: Final = "calibration.json"
# What people marked while they looked; nothing else can bring it back.
MARKS_NAME: Final = "marks.jsonl"
# Where tiles lie on a plane; `map` can make it again.
MAP_NAME: Final = "map.parquet"
_KIND: Final = "histo-index"
# What stands in JSON where there is no ANN index, and where nothing was fitted.
_EXACT: Final = {"factory": "exact"}
_PLAIN: Final = {"name": PLAIN}
_REMEDY: Final = (
    "restore it from a copy, or delete it and run `histo-index build` again, which keeps the shards"
)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """One committed state of an index.

    Attributes:
        generation: 1 for the first commit, then one more each.
        created: time of the commit, UTC, ISO 8601.
        encoder: what computed the embeddings.
        tiles: tiles in the index, removed ones not counted.
        rejected: inputs that could not be used.
        shards: in row order.
        files: every other file, by its role: `rows`, `vectors`, `blocks`, `rejected`,
            `encoder/...`, and where there are such `candidates`, `removed`, `transform` and
            `features`.
        settings: the options of the build that can change what is in the index.
        libraries: name to version of what wrote it.
        sources: where the tiles come from, in the order in which they were added.
        structure: the ANN index; None where search is exact.
        distance: how the distance was fitted; None where it is plain.
    """

    generation: int
    created: str
    encoder: EncoderCard
    tiles: int
    rejected: int
    shards: tuple[ShardRecord, ...]
    files: Mapping[str, FileRecord]
    settings: Settings
    libraries: Mapping[str, str]
    sources: tuple[SourceRecord, ...] = ()
    structure: AnnStructure | None = None
    distance: FittedDistance | None = None

    @property
    def fingerprint(self) -> str:
        """The encoder's fingerprint."""
        return self.encoder.fingerprint

    @property
    def embedding_size(self) -> int:
        """D, the length of an embedding."""
        return self.encoder.embedding_size

    @property
    def rows(self) -> int:
        """N, rows over all shards, those of removed tiles counted."""
        return sum(shard.rows for shard in self.shards)

    @property
    def vector_size(self) -> int:
        """V, the length of a vector."""
        return self.distance.size if self.distance else self.embedding_size

    @property
    def distance_kind(self) -> str:
        """`plain` or `diffused`."""
        return self.distance.name if self.distance else PLAIN

    @property
    def distance_name(self) -> str:
        """Name of the distance and its fit: only distances of one name can be compared."""
        transform = self.files.get(TRANSFORM)
        return PLAIN if transform is None else f"{self.distance_kind} {transform.checksum}"

    @property
    def private_columns(self) -> tuple[str, ...]:
        """Columns of the user that are shown only on request."""
        return self.settings.private

    def tiles_root(self, folder: Path) -> Path:
        """Locate the folder that tile paths start from.

        Args:
            folder: the index folder, wherever it lies now.
        """
        return (folder / self.settings.root).resolve()

    def to_json(self) -> dict[str, Any]:
        """Return the manifest as JSON values."""
        return {
            **asdict(self),
            "structure": asdict(self.structure) if self.structure else _EXACT,
            "distance": asdict(self.distance) if self.distance else _PLAIN,
        }

    def records(self) -> list[FileRecord]:
        """List every file that belongs to this generation."""
        shards = [record for shard in self.shards for record in (shard.file, shard.receipt)]
        return shards + list(self.files.values())


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Commit: from here on readers see this generation."""
    publish_bytes(folder / MANIFEST_NAME, seal(_KIND, manifest.to_json(), version=FORMAT_VERSION))


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
    # None, as JSON has it.
    for name, nothing in (("structure", _EXACT), ("distance", _PLAIN)):
        if body.get(name) == nothing:
            body[name] = None
    try:
        return read_record(Manifest, body)
    except (ValueError, InputError) as error:
        raise DamagedError(f"{path}: damaged: {error}; {_REMEDY}") from error


def _no_index(folder: Path) -> str:
    if not folder.exists():
        return f"{folder}: no such index; make one with `histo-index build TILES -o {folder}`"
    if not folder.is_dir():
        return f"{folder} is not an index folder; pass the folder that `histo-index build -o` made"
    return (
        f"{folder} holds no finished index; run `histo-index build` (again, if it was interrupted)"
    )
