"""The manifest: what it names is the index."""

import json
from pathlib import Path
from typing import Any

import pytest

from histo_index.errors import IndexFormatError
from histo_index.indexer.format.manifest import (
    FORMAT_VERSION,
    FileRecord,
    Manifest,
    ShardRecord,
    read_manifest,
    write_manifest,
)
from histo_index.indexer.format.signed_json import seal
from tests.indexer.fakes import files_of


def record(path: str) -> FileRecord:
    return FileRecord(path=path, bytes=3, checksum="c" * 32)


MANIFEST = Manifest(
    generation=4,
    created="2026-01-31T12:00:00+00:00",
    encoder={"fingerprint": "f1", "embedding_size": 8, "threshold": {"value": 0.705}},
    tiles=5,
    rejected=1,
    shards=(
        ShardRecord(
            shard_id="a",
            rows=5,
            file=record("embeddings/part-a.parquet"),
            receipt=record("embeddings/part-a.json"),
            runtime={"name": "fake"},
        ),
    ),
    files={"rows": record("search/000004/rows.arrow"), "rejected": record("rejected.parquet")},
    settings={"root": "../caf\udce9", "max_pixels": 10},
    libraries={"numpy": "2.0"},
)


def test_a_manifest_reads_back_as_it_was_written(tmp_path: Path) -> None:
    write_manifest(tmp_path, MANIFEST)
    assert read_manifest(tmp_path) == MANIFEST
    assert list(files_of(tmp_path)) == ["manifest.json"]
    assert (MANIFEST.fingerprint, MANIFEST.embedding_size) == ("f1", 8)
    assert [r.path for r in MANIFEST.records()] == [
        "embeddings/part-a.parquet",
        "embeddings/part-a.json",
        "search/000004/rows.arrow",
        "rejected.parquet",
    ]


def test_what_is_no_index_is_named_and_told_how_to_become_one(tmp_path: Path) -> None:
    file = tmp_path / "file.hx"
    file.touch()
    missing = tmp_path / "no.hx"
    for folder, message in (
        (
            missing,
            f"{missing}: no such index; make one with `histo-index build TILES -o {missing}`",
        ),
        (file, f"{file} is not an index folder; pass the folder that `histo-index build -o` made"),
        (
            tmp_path,
            f"{tmp_path} holds no finished index; run `histo-index build` (again, if it was "
            "interrupted)",
        ),
    ):
        with pytest.raises(IndexFormatError) as caught:
            read_manifest(folder)
        assert str(caught.value) == message


def test_a_manifest_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(IndexFormatError) as caught:
        read_manifest(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}/manifest.json: cannot be read (Is a directory); check its permissions"
    )


def test_a_newer_version_asks_for_an_upgrade(tmp_path: Path) -> None:
    body: dict[str, Any] = {"generation": 9, "something": "new"}
    (tmp_path / "manifest.json").write_bytes(seal("histo-index", body, version=FORMAT_VERSION + 1))
    with pytest.raises(IndexFormatError) as caught:
        read_manifest(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}/manifest.json has index format {FORMAT_VERSION + 1}, this release reads up to "
        f"{FORMAT_VERSION}; upgrade histo-index"
    )


def test_a_change_by_hand_is_refused(tmp_path: Path) -> None:
    write_manifest(tmp_path, MANIFEST)
    path = tmp_path / "manifest.json"
    document = json.loads(path.read_bytes())
    document["tiles"] = 6
    path.write_text(json.dumps(document, indent=1))
    with pytest.raises(
        IndexFormatError,
        match=r"/manifest\.json: damaged: checksum \w{32}, expected \w{32}; restore it from a "
        "copy, or delete it and run `histo-index build` again, which keeps the shards$",
    ):
        read_manifest(tmp_path)
