"""Finished shards, reindexing and cleaning up: what is kept, what goes, what is refused."""

import shutil
from pathlib import Path

import pytest

from histo_index.errors import IndexFormatError, MismatchError
from histo_index.indexer.format.manifest import FORMAT_VERSION, read_manifest
from histo_index.indexer.format.shards import Rejection, read_receipt
from histo_index.indexer.format.signed_json import seal
from histo_index.indexer.writing.commit import count_reasons, finished_shards, reindex
from tests.indexer.fakes import (
    FakeEncoder,
    expected_rows,
    files_of,
    leftovers,
    numbered,
    require_sound,
    run_build,
    write_tiles,
)

FINGERPRINT = "f" * 32


@pytest.fixture
def built(tiles: Path, tmp_path: Path, encoder: FakeEncoder) -> Path:
    """An index of 20 tiles in shards of 8, 8 and 4."""
    run_build(tmp_path / "tiles.hx", encoder, tiles)
    return tmp_path / "tiles.hx"


def test_whole_shards_are_found_with_their_rows(built: Path) -> None:
    found = finished_shards(built, FINGERPRINT)
    by_id = {shard.receipt.shard_id: shard for shard in found}
    for entry in read_manifest(built).shards:
        shard = by_id.pop(entry.shard_id)
        assert (shard.receipt.rows, shard.receipt.file) == (entry.rows, entry.file)
        assert shard.rows.column_names == [
            "image_id", "path", "sha256", "width", "height", "note",
        ]  # fmt: skip
    assert by_id == {}


@pytest.mark.parametrize("part", ["parquet", "json"])
@pytest.mark.parametrize("how", ["missing", "damaged", "cut short"])
def test_damaged_shard_is_reported_removed_and_only_its_tiles_encoded_again(
    tiles: Path,
    built: Path,
    encoder: FakeEncoder,
    caplog: pytest.LogCaptureFixture,
    part: str,
    how: str,
) -> None:
    middle = read_manifest(built).shards[1]
    file = built / (middle.file if part == "parquet" else middle.receipt).path
    data = file.read_bytes()
    file.unlink()
    if how == "damaged":
        file.write_bytes(data[:20] + bytes([data[20] ^ 4]) + data[21:])
    elif how == "cut short":
        file.write_bytes(data[:-1])
    run_build(built, encoder, tiles)
    require_sound(built, expected_rows(tiles, numbered(20)))
    assert encoder.encoded == numbered(8, start=8)
    if (part, how) == ("json", "missing"):
        assert caplog.messages == []
    else:
        (message,) = caplog.messages
        assert message.startswith(f"{file}: {'missing' if how == 'missing' else 'damaged'}")
        assert message.endswith("run `histo-index build` again: only its tiles are encoded again")
    assert leftovers(built) == []


def test_a_shard_of_another_encoder_is_refused_and_stays(built: Path) -> None:
    before = files_of(built)
    with pytest.raises(MismatchError) as caught:
        finished_shards(built, "e" * 32)
    assert f"was finished by encoder {FINGERPRINT} but this encoder is {'e' * 32}; " in str(
        caught.value
    )
    assert files_of(built) == before


def test_newer_or_unreadable_file_is_refused_and_kept(built: Path) -> None:
    entry = read_manifest(built).shards[0]
    receipt = built / entry.receipt.path
    newer = seal("histo-index receipt", {}, version=FORMAT_VERSION + 1)
    old = receipt.read_bytes()
    receipt.write_bytes(newer)
    before = files_of(built)
    with pytest.raises(IndexFormatError, match=r"upgrade histo-index$"):
        finished_shards(built, FINGERPRINT)
    assert files_of(built) == before
    receipt.write_bytes(old)
    # Stands for any error of the disk that is not "no such file".
    shard = built / entry.file.path
    shard.rename(built / "aside")
    shard.mkdir()
    with pytest.raises(IndexFormatError, match=r"cannot be read \(Is a directory\)"):
        finished_shards(built, FINGERPRINT)
    assert receipt.read_bytes() == old


def test_a_shard_without_a_receipt_is_removed(built: Path) -> None:
    orphan = built / "embeddings" / "part-0.parquet"
    orphan.write_bytes(b"half of something")
    other = built / "embeddings" / "notes.parquet"
    other.write_bytes(b"mine")
    assert len(finished_shards(built, FINGERPRINT)) == 3
    assert not orphan.exists()
    assert other.read_bytes() == b"mine"


def test_search_files_that_are_gone_are_made_again_with_equal_answers(
    tiles: Path, built: Path
) -> None:
    before = {name: data for name, data in files_of(built).items() if "search/" in name}
    shutil.rmtree(built / "search")
    (built / "embeddings" / ".tmp-0-part").write_bytes(b"of a killed build")
    manifest = reindex(built)
    assert manifest.generation == 2
    require_sound(built, expected_rows(tiles, numbered(20)))
    after = {name: data for name, data in files_of(built).items() if "search/" in name}
    assert after == {name.replace("000001", "000002"): data for name, data in before.items()}
    assert leftovers(built) == []


def test_a_build_makes_search_files_that_are_gone_without_encoding(
    tiles: Path, built: Path, encoder: FakeEncoder
) -> None:
    shutil.rmtree(built / "search")
    report = run_build(built, encoder, tiles)
    assert (report.encoded, report.generation) == (0, 2)
    require_sound(built, expected_rows(tiles, numbered(20)))


def test_reindexing_keeps_the_shards_of_an_interrupted_build(
    tiles: Path, built: Path, encoder: FakeEncoder
) -> None:
    write_tiles(tiles, numbered(20, start=20))

    def interrupt(path: Path) -> None:
        if path.name == "t0036.png":
            raise KeyboardInterrupt

    encoder.before = interrupt
    with pytest.raises(KeyboardInterrupt):
        run_build(built, encoder, tiles)
    receipts = sorted(built.glob("embeddings/part-*.json"))
    assert len(receipts) == 5
    reindex(built)
    assert sorted(built.glob("embeddings/part-*.json")) == receipts
    assert (built / "plan.parquet").exists()
    require_sound(built, expected_rows(tiles, numbered(20)))
    encoder.before = lambda path: None
    run_build(built, encoder, tiles)
    assert encoder.encoded == numbered(4, start=36)
    require_sound(built, expected_rows(tiles, numbered(40)))


def test_reindexing_refuses_another_folder_and_leaves_no_lock(tmp_path: Path) -> None:
    with pytest.raises(IndexFormatError, match="holds no finished index"):
        reindex(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_reindexing_with_a_damaged_shard_leaves_the_old_state(tiles: Path, built: Path) -> None:
    shard = built / read_manifest(built).shards[2].file.path
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1])
    with pytest.raises(IndexFormatError, match=shard.name):
        reindex(built)
    assert read_manifest(built).generation == 1
    shard.write_bytes(whole)
    require_sound(built, expected_rows(tiles, numbered(20)))
    reindex(built)
    assert leftovers(built) == []


def test_garbage_in_search_costs_nothing_but_itself(
    tiles: Path, built: Path, encoder: FakeEncoder
) -> None:
    derived = built / "search" / "000001"
    for path in derived.iterdir():
        path.write_bytes(b"garbage")
    (built / "search" / "000009").mkdir()
    (built / "search" / "000009" / "vectors.npy").write_bytes(b"of a killed build")
    (built / "search" / "more").mkdir()
    with pytest.raises(IndexFormatError):
        require_sound(built, {})
    assert {path.read_bytes() for path in derived.iterdir()} == {b"garbage"}
    assert reindex(built).generation == 2
    require_sound(built, expected_rows(tiles, numbered(20)))
    assert sorted(path.name for path in (built / "search").iterdir()) == ["000002", "more"]
    assert run_build(built, encoder, tiles).generation == 2


def test_receipt_matches_the_report_of_the_build(built: Path) -> None:
    for entry in read_manifest(built).shards:
        receipt = read_receipt(built / entry.receipt.path)
        assert (receipt.shard_id, receipt.rows) == (entry.shard_id, entry.rows)
        assert (receipt.fingerprint, receipt.max_pixels) == (FINGERPRINT, 1000)
        assert receipt.runtime == {"name": "fake", "device": "cpu", "precision": "float32"}
        assert receipt.rejected == ()


def test_reasons_are_counted_by_their_kind() -> None:
    reasons = [
        "cannot be read (No such file or directory)",
        "cannot be read (Permission denied)",
        "not an image: 3 bytes",
        "duplicate image_id: 7",
        "the file name is not UTF-8; rename it",
        "plain",
        "plain",
        "cannot be read (not a regular file)",
    ]
    counted = count_reasons([Rejection(path="x", reason=reason) for reason in reasons])
    assert list(counted.items()) == [
        ("cannot be read", 3),
        ("plain", 2),
        ("not an image", 1),
        ("duplicate image_id", 1),
        ("the file name is not UTF-8", 1),
    ]
