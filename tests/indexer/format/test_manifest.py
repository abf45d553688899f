"""The manifest: what it names is the index."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from histo_index.errors import IndexFormatError
from histo_index.indexer.format.checksums import DamagedError
from histo_index.indexer.format.encoder_card import EncoderCard, ThresholdRecord
from histo_index.indexer.format.manifest import (
    FORMAT_VERSION,
    Manifest,
    read_manifest,
    write_manifest,
)
from histo_index.indexer.format.records import (
    AnnStructure,
    FileRecord,
    FittedDistance,
    SearchConfig,
    Settings,
    ShardRecord,
    SourceRecord,
)
from histo_index.indexer.format.signed_json import seal
from tests.indexer.fakes import files_of


def record(path: str) -> FileRecord:
    return FileRecord(path=path, bytes=3, checksum="c" * 32)


MANIFEST = Manifest(
    generation=4,
    created="2026-01-31T12:00:00+00:00",
    encoder=EncoderCard(
        fingerprint="f1",
        architecture="fake",
        embedding_size=8,
        is_trained=True,
        mpp=0.5,
        threshold=ThresholdRecord(value=0.705, origin="tests"),
        diffused_threshold=None,
        licence=None,
        declared=None,
    ),
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
    settings=Settings(
        shard_rows=8,
        max_pixels=10,
        root="../caf\udce9",
        search=SearchConfig(structure="SQ8"),
        distance="diffused",
        private=("age",),
    ),
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


def test_folder_without_an_index_is_named_with_a_remedy(tmp_path: Path) -> None:
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


STRUCTURE = AnnStructure(
    factory="SQ8",
    effort=1,
    candidates=32,
    recall=0.99,
    queries_per_second=900,
    exact_queries_per_second=10.5,
    bytes=80,
    seconds_to_make=0.5,
    tiles=5,
    added=0,
)


def test_manifest_with_ann_index_sources_and_fitted_distance_reads_back(tmp_path: Path) -> None:
    source = SourceRecord(
        paths=("../tiles",),
        manifest=None,
        base="../tiles",
        prefix="",
        columns=("age", "label"),
        slides=None,
    )
    fitted = FittedDistance(name="diffused", tiles=5, fitted_on=4, size=32)
    manifest = replace(MANIFEST, sources=(source,), structure=STRUCTURE, distance=fitted)
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest
    assert (manifest.vector_size, manifest.distance_kind) == (32, "diffused")
    assert (MANIFEST.vector_size, MANIFEST.distance_kind) == (8, "plain")


def test_exact_search_and_plain_distance_have_one_field_in_json() -> None:
    document = MANIFEST.to_json()
    assert document["structure"] == {"factory": "exact"}
    assert document["distance"] == {"name": "plain"}
    assert replace(MANIFEST, structure=STRUCTURE).to_json()["structure"] == asdict(STRUCTURE)


def test_tiles_root_follows_the_index_folder(tmp_path: Path) -> None:
    assert MANIFEST.tiles_root(tmp_path / "a.hx") == tmp_path / "caf\udce9"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"tiles": "5"}, "tiles: '5', expected int"),
        ({"tiles": True}, "tiles: True, expected int"),
        ({"wings": 2}, "wings: unknown field"),
        ({"encoder": {"fingerprint": "f1"}}, "encoder.architecture: missing"),
        ({"shards": {}}, "shards: {}, expected list"),
        ({"shards": [3]}, "shards: 3, expected dict"),
        ({"files": {"rows": {"path": 1, "bytes": 2, "checksum": ""}}}, "files.rows.path: 1, "),
        ({"structure": {"factory": "SQ8"}}, "structure.added: missing"),
        ({"distance": {"name": "diffused"}}, "distance.fitted_on: missing"),
        ({"libraries": {"numpy": 2}}, "libraries.numpy: 2, expected str"),
    ],
)
def test_wrong_field_is_damage_and_is_named(
    tmp_path: Path, change: dict[str, Any], problem: str
) -> None:
    body = MANIFEST.to_json() | change
    (tmp_path / "manifest.json").write_bytes(seal("histo-index", body, version=FORMAT_VERSION))
    with pytest.raises(DamagedError) as caught:
        read_manifest(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}/manifest.json: damaged: {problem}")
    assert message.endswith(
        "; restore it from a copy, or delete it and run `histo-index build` "
        "again, which keeps the shards"
    )


def test_setting_out_of_range_is_damage(tmp_path: Path) -> None:
    body = MANIFEST.to_json()
    body["settings"]["search"]["recall"] = 2
    (tmp_path / "manifest.json").write_bytes(seal("histo-index", body, version=FORMAT_VERSION))
    with pytest.raises(DamagedError, match="damaged: recall is 2; expected more than 0"):
        read_manifest(tmp_path)
