"""An encoder that knows files by their hash, tiles for it, and what an index of them must hold."""

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from histo_index.api.info import index_facts
from histo_index.arrays import Float32
from histo_index.errors import ImageError
from histo_index.indexer.build import build
from histo_index.indexer.build_config import BuildConfig, BuildReport
from histo_index.indexer.format.manifest import Manifest, read_manifest
from histo_index.indexer.hashing.cache import STATES_NAME
from histo_index.indexer.reader import OpenIndex
from histo_index.indexer.writing.commit import read_rejected

SIZE: Final = 16
# Files count as unchanged at once: tests write tiles and build within a second.
UNCHANGED_NS: Final = -60_000_000_000
# A tile that begins with this is no image, unless the encoder accepts everything.
BROKEN: Final = b"broken"


@dataclass(frozen=True, kw_only=True)
class FakeTile:
    """An encoded tile."""

    embedding: Float32
    sha256: str
    width: int
    height: int
    note: str | None


@dataclass(kw_only=True)
class FakeEncoder:
    """Gives every content its own direction, and counts.

    Attributes:
        folder: its files.
        before: called with each path before it is read.
        log: a file that gets a line per encoded content, also from processes that are killed.
        delay_s: how long a tile takes.
        broken: how contents begin that it cannot read.
        encoded: names of the files it was asked for, in order.
    """

    folder: Path
    fingerprint: str = "f" * 32
    embedding_size: int = SIZE
    max_pixels: int = 1000
    before: Callable[[Path], None] = lambda path: None
    log: Path | None = None
    delay_s: float = 0.0
    broken: bytes = BROKEN
    runtime: str = "fake"
    threshold: float = 0.5
    encoded: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "config.json").write_text(f'{{"fingerprint": "{self.fingerprint}"}}')
        (self.folder / "model.safetensors").write_bytes(self.fingerprint.encode() * 64)

    def card(self) -> Mapping[str, Any]:
        return {
            "fingerprint": self.fingerprint,
            "architecture": "fake",
            "embedding_size": self.embedding_size,
            "is_trained": True,
            "mpp": None,
            "threshold": {"value": self.threshold, "origin": "chosen for tests"},
            "diffused_threshold": None,
            "licence": None,
            "declared": None,
        }

    def describe(self) -> Mapping[str, str]:
        return {"name": self.runtime, "device": "cpu", "precision": "float32"}

    def encode_files(self, paths: Iterable[Path]) -> Iterator[FakeTile | ImageError]:
        for path in paths:
            self.before(path)
            self.encoded.append(path.name)
            time.sleep(self.delay_s)
            yield self._encode(path)

    def _encode(self, path: Path) -> FakeTile | ImageError:
        try:
            data = path.read_bytes()
        except OSError as error:
            return ImageError(f"{path}: cannot be read ({error.strerror})")
        if self.log is not None:
            with open(self.log, "a") as file:
                file.write(hashlib.sha256(data).hexdigest() + "\n")
        if data.startswith(self.broken):
            return ImageError(f"{path}: not an image: {len(data)} bytes of nothing")
        return FakeTile(
            embedding=embedding_of(data, self.embedding_size),
            sha256=hashlib.sha256(data).hexdigest(),
            width=len(data),
            height=data[0],
            note="first page of several" if data.startswith(b"pages") else None,
        )


def embedding_of(data: bytes, size: int = SIZE) -> Float32:
    """Give the direction of a content: float32 [D] of length 1."""
    seed = int(hashlib.sha256(data).hexdigest()[:16], 16)
    vector = np.random.default_rng(seed).standard_normal(size).astype(np.float32)
    unit: Float32 = vector / np.linalg.norm(vector)
    return unit


def write_tiles(folder: Path, names: Iterable[str], *, content: str = "tile {}") -> Path:
    """Write tile files with different contents; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content.format(name))
    return folder


def numbered(count: int, *, start: int = 0) -> list[str]:
    """Name tiles so that their order is that of their numbers."""
    return [f"t{number:04d}.png" for number in range(start, start + count)]


def run_build(output: Path, encoder: FakeEncoder, *sources: Path, **options: Any) -> BuildReport:
    """Build with shards of 8 and the hash cache at once; tiles may be dropped."""
    encoder.encoded.clear()
    usual = {
        "sources": list(sources),
        "output": output,
        "shard_rows": 8,
        "allow_drop": True,
        "settled_ns": UNCHANGED_NS,
    }
    config = BuildConfig(**{**usual, **options})
    return build(config, encoder)


def expected_rows(root: Path, names: Iterable[str]) -> dict[str, tuple[Any, ...]]:
    """Say what an index of tiles must hold, by image id, from the files alone."""
    rows = {}
    for name in names:
        data = (root / name).read_bytes()
        stem = name.rsplit("/", 1)[-1].rsplit(".", 1)[0]
        note = "first page of several" if data.startswith(b"pages") else None
        vector = embedding_of(data).astype(np.float16).tobytes()
        digest = hashlib.sha256(data).hexdigest()
        rows[name] = (name, digest, len(data), data[0], note, stem, vector)
    return rows


def indexed_rows(index: OpenIndex) -> dict[str, tuple[Any, ...]]:
    """Read what an open index holds, in the form of `expected_rows`, vectors and all."""
    live = index.live_rows()
    vectors = index.vectors(live)
    columns = ("path", "sha256", "width", "height", "note", "stem")
    rows = {
        row["image_id"]: (*(row[name] for name in columns), vector.tobytes())
        for row, vector in zip(index.rows.take(pa.array(live)).to_pylist(), vectors, strict=True)
    }
    assert len(rows) == len(live) == index.manifest.tiles
    return rows


def shard_rows(folder: Path) -> dict[str, tuple[Any, ...]]:
    """Read what the shards of an index hold, with nothing but pyarrow."""
    rows = {}
    for shard in read_manifest(folder).shards:
        with open(folder / shard.file.path, "rb") as file:
            table = pq.read_table(file)
        assert len(table) == shard.rows
        for row in table.to_pylist():
            facts = (row[name] for name in ("path", "sha256", "width", "height", "note"))
            stem = row["path"].rsplit("/", 1)[-1].rsplit(".", 1)[0]
            vector = row["embedding"]
            assert row["image_id"] not in rows
            rows[row["image_id"]] = (*facts, stem, vector)
    return rows


def require_sound(folder: Path, expected: Mapping[str, tuple[Any, ...]]) -> Manifest:
    """Check everything about an index: values, shards, checksums, structure."""
    index = OpenIndex(folder)
    assert indexed_rows(index) == expected
    stored = shard_rows(folder)
    assert {name: stored[name] for name in expected} == expected
    assert len(stored) == len(index) == index.manifest.rows
    assert len(stored) == len(expected) or index.is_live is not None
    index_facts(folder, verify=True)
    vectors = index.vectors(np.arange(len(index))).astype(np.float32)
    own = index.structure.search(vectors, 1)[:, 0]
    # Equal contents are equally near: the first of them may answer.
    np.testing.assert_array_equal(vectors[own], vectors)
    return index.manifest


def reasons(folder: Path) -> dict[str, str]:
    """Read the rejected list of an index: path to reason."""
    found = read_rejected(folder, read_manifest(folder))
    assert len({entry.path for entry in found}) == len(found) == read_manifest(folder).rejected
    return {entry.path: entry.reason for entry in found}


def files_of(folder: Path) -> dict[str, bytes]:
    """Read every file below a folder, but the one that depends on when tiles were written."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != STATES_NAME
    }


def leftovers(folder: Path) -> list[str]:
    """Name the files that the manifest does not account for, the lock aside."""
    named = {record.path for record in read_manifest(folder).records()}
    return sorted(set(files_of(folder)) - named - {"manifest.json", "lock"})


def flip(path: Path, bit: int) -> None:
    """Flip one bit of a file."""
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def is_root() -> bool:
    """Tell whether permissions stop this process."""
    return os.name != "nt" and os.geteuid() == 0
