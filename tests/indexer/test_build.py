"""Builds from end to end with the fake encoder: what is in the index, and what was encoded."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from histo_index.encoder.decode.image_file import DecodeLimits, read_tile
from histo_index.errors import ImageError, InputError, MismatchError
from histo_index.indexer.build import build
from histo_index.indexer.build_config import BuildConfig, BuildProgress
from histo_index.indexer.format.encoder_card import ThresholdRecord
from histo_index.indexer.format.manifest import read_manifest
from histo_index.indexer.inputs.tiles import list_tiles
from histo_index.indexer.reader import OpenIndex
from tests.indexer.fakes import (
    FakeEncoder,
    embedding_of,
    expected_rows,
    files_of,
    leftovers,
    numbered,
    reasons,
    require_sound,
    run_build,
    write_tiles,
)


@pytest.fixture
def built(tiles: Path, output: Path, encoder: FakeEncoder) -> Path:
    """An index of 20 tiles in shards of 8."""
    run_build(output, encoder, tiles)
    return output


def test_a_first_build_holds_every_tile_with_its_values(
    tiles: Path, output: Path, encoder: FakeEncoder
) -> None:
    write_tiles(tiles, ["pages.tif"], content="pages {}")
    (tiles / "notes.txt").touch()
    report = run_build(output, encoder, tiles)
    names = [*numbered(20), "pages.tif"]
    manifest = require_sound(output, expected_rows(tiles, names))
    assert OpenIndex(output).row(0)["note"] == "first page of several"
    assert sorted(encoder.encoded) == sorted(names)
    assert (report.encoded, report.reused, report.tiles, report.generation) == (21, 0, 21, 1)
    assert (report.rejected, report.ignored, report.shards_written) == ({}, 1, 3)
    assert report.bytes == sum(len(files_of(output)[r.path]) for r in manifest.records())
    assert [shard.rows for shard in manifest.shards] == [8, 8, 5]
    assert leftovers(output) == []
    assert reasons(output) == {}
    assert (output / "encoder" / "config.json").read_text() == '{"fingerprint": "' + "f" * 32 + '"}'


def test_shards_are_plain_parquet_with_the_documented_columns(
    tmp_path: Path, tiles: Path, output: Path, encoder: FakeEncoder
) -> None:
    listed = tiles / "labels.csv"
    listed.write_text("path,label,case,mpp\n" + "".join(f"{n},x,007,0.5\n" for n in numbered(5)))
    run_build(output, encoder, listed)
    (shard,) = read_manifest(output).shards
    table = pq.read_table(output / shard.file.path)
    assert dict(zip(table.column_names, map(str, table.schema.types), strict=True)) == {
        "image_id": "string",
        "path": "string",
        "sha256": "string",
        "width": "int32",
        "height": "int32",
        "note": "string",
        "label": "string",
        "case": "string",
        "mpp": "double",
        "embedding": "fixed_size_binary[32]",
    }
    for row, name in zip(table.to_pylist(), numbered(5), strict=True):
        data = (tiles / name).read_bytes()
        np.testing.assert_array_equal(
            np.frombuffer(row.pop("embedding"), "<f2"), embedding_of(data).astype(np.float16)
        )
        assert row == {
            "image_id": name,
            "path": name,
            "sha256": hashlib.sha256(data).hexdigest(),
            "width": len(data),
            "height": data[0],
            "note": None,
            "label": "x",
            "case": "007",
            "mpp": 0.5,
        }


def test_another_reader_opens_a_shard_as_it_is(built: Path, tiles: Path) -> None:
    (first, *_) = read_manifest(built).shards
    path = built / first.file.path
    query = f"select path, embedding from '{path}'"
    found = duckdb.connect().execute(query).fetchall()
    assert len(found) == first.rows
    for name, embedding in found:
        expected = embedding_of((tiles / name).read_bytes()).astype(np.float16)
        np.testing.assert_array_equal(np.frombuffer(embedding, "<f2"), expected)


def test_nothing_changed_writes_nothing_and_encodes_nothing(
    tiles: Path, built: Path, encoder: FakeEncoder
) -> None:
    before = files_of(built)
    report = run_build(built, encoder, tiles)
    assert (report.encoded, report.reused, report.generation) == (0, 20, 1)
    assert report.shards_written == 0
    assert encoder.encoded == []
    after = files_of(built)
    # The lock says who held it last.
    assert {**after, "lock": b""} == {**before, "lock": b""}


def test_added_tiles_alone_are_encoded(tiles: Path, built: Path, encoder: FakeEncoder) -> None:
    write_tiles(tiles, ["t0003b.png", "t0100.png"])
    report = run_build(built, encoder, tiles)
    require_sound(built, expected_rows(tiles, [*numbered(20), "t0003b.png", "t0100.png"]))
    assert encoder.encoded == ["t0003b.png", "t0100.png"]
    assert (report.encoded, report.reused, report.generation) == (2, 20, 2)
    assert leftovers(built) == []


def test_vanished_tiles_are_dropped_without_encoding(
    tiles: Path, built: Path, encoder: FakeEncoder
) -> None:
    for name in ("t0003.png", "t0019.png"):
        (tiles / name).unlink()
    report = run_build(built, encoder, tiles)
    left = [name for name in numbered(20) if (tiles / name).exists()]
    require_sound(built, expected_rows(tiles, left))
    assert (len(left), report.tiles, report.encoded, encoder.encoded) == (18, 18, 0, [])
    assert leftovers(built) == []


def test_renamed_tiles_are_copied_not_encoded(
    tiles: Path, built: Path, encoder: FakeEncoder
) -> None:
    tiles.rename(tiles.with_name("moved"))
    moved = tiles.with_name("moved")
    (moved / "t0007.png").rename(moved / "a first one.png")
    run_build(built, encoder, moved, replace=True)
    rest = [name for name in numbered(20) if name != "t0007.png"]
    require_sound(built, expected_rows(moved, ["a first one.png", *rest]))
    assert encoder.encoded == []
    # One more source moves the root, and with it every path.
    write_tiles(moved.parent / "more", ["z.png"])
    run_build(built, encoder, moved, moved.parent / "more", replace=True)
    names = [f"moved/{name}" for name in ["a first one.png", *rest]]
    require_sound(built, expected_rows(moved.parent, [*names, "more/z.png"]))
    assert encoder.encoded == ["z.png"]


def test_changed_content_is_encoded_again(tiles: Path, built: Path, encoder: FakeEncoder) -> None:
    (tiles / "t0005.png").write_text("another picture")
    (tiles / "t0011.png").write_text("tile t0012.png")
    run_build(built, encoder, tiles)
    require_sound(built, expected_rows(tiles, numbered(20)))
    # The second has a content that the index knows already.
    assert encoder.encoded == ["t0005.png"]


def test_changed_metadata_costs_no_encoding(
    tiles: Path, output: Path, encoder: FakeEncoder
) -> None:
    listed = tiles / "labels.csv"

    def build_with(rows: str) -> list[dict[str, Any]]:
        listed.write_text(rows)
        run_build(output, encoder, listed)
        require_sound(output, expected_rows(tiles, numbered(3)))
        index = OpenIndex(output)
        names = [name for name in index.rows.column_names if name not in OURS]
        return [{name: row[name] for name in names} for row in index.rows.to_pylist()]

    first, second, third = numbered(3)
    rows = build_with(f"path,label\n{first},x\n{second},y\n{third},\n")
    assert rows == [{"label": "x"}, {"label": "y"}, {"label": ""}]
    assert len(encoder.encoded) == 3
    rows = build_with(f"path,label\n{first},x\n{second},z\n{third},\n")
    assert (rows[1], encoder.encoded) == ({"label": "z"}, [])
    rows = build_with(f"path,label,n\n{first},x,1\n{second},z,\n{third},,3\n")
    assert rows == [{"label": "x", "n": 1}, {"label": "z", "n": None}, {"label": "", "n": 3}]
    assert encoder.encoded == []


OURS = ("image_id", "path", "sha256", "width", "height", "note", "stem")


def test_unusable_files_are_listed_with_a_reason_and_harmless(
    tmp_path: Path, tiles: Path, output: Path, encoder: FakeEncoder
) -> None:
    write_tiles(tiles, ["bad.png", "worse.png"], content="broken {}")
    (tiles / "out.png").symlink_to("/etc/hostname")
    (tiles / "gone.png").symlink_to("nothing")
    report = run_build(output, encoder, tiles)
    require_sound(output, expected_rows(tiles, numbered(20)))
    assert reasons(output) == {
        "bad.png": "not an image: 14 bytes of nothing",
        "gone.png": "cannot be read (No such file or directory)",
        "out.png": "a symbolic link out of the source folder",
        "worse.png": "not an image: 16 bytes of nothing",
    }
    assert report.rejected == {
        "not an image": 2,
        "cannot be read": 1,
        "a symbolic link out of the source folder": 1,
    }
    assert report.tiles + sum(report.rejected.values()) == 24
    table = pq.read_table(output / report.rejected_file)
    assert table.schema.names == ["path", "sha256", "reason"]
    digest = hashlib.sha256(b"broken bad.png").hexdigest()
    assert table.to_pylist()[0] == {
        "path": "bad.png",
        "sha256": digest,
        "reason": "not an image: 14 bytes of nothing",
    }
    # Known to be bad: not tried again, and still on the list.
    again = run_build(output, encoder, tiles)
    assert (encoder.encoded, again.generation, again.rejected) == ([], 1, report.rejected)
    retried = run_build(output, encoder, tiles, retry_rejected=True)
    assert sorted(encoder.encoded) == ["bad.png", "worse.png"]
    assert (retried.generation, retried.rejected, len(reasons(output))) == (1, report.rejected, 4)
    assert leftovers(output) == []


def test_a_tile_that_was_out_of_reach_is_tried_again(
    tiles: Path, output: Path, encoder: FakeEncoder
) -> None:
    """As on a share that was gone between hashing and reading."""
    gone = tiles / "t0003.png"
    content = gone.read_bytes()
    encoder.before = lambda path: gone.unlink(missing_ok=True)
    first = run_build(output, encoder, tiles)
    assert first.rejected == {"cannot be read": 1}
    encoder.before = lambda path: None
    gone.write_bytes(content)
    again = run_build(output, encoder, tiles)
    assert (encoder.encoded, again.rejected) == (["t0003.png"], {})
    require_sound(output, expected_rows(tiles, numbered(20)))


def test_another_pixel_limit_tries_rejected_tiles_again_and_no_others(
    tiles: Path, output: Path, encoder: FakeEncoder
) -> None:
    write_tiles(tiles, ["bad.png"], content="broken {}")
    run_build(output, encoder, tiles)
    encoder.max_pixels = 2000
    report = run_build(output, encoder, tiles)
    assert (encoder.encoded, report.generation) == (["bad.png"], 2)
    assert read_manifest(output).settings.max_pixels == 2000
    assert run_build(output, encoder, tiles).generation == 2
    assert encoder.encoded == []
    require_sound(output, expected_rows(tiles, numbered(20)))


@pytest.mark.parametrize("count", [3, 20], ids=["a small shard", "several shards"])
def test_tiles_that_become_usable_are_taken_in(
    tmp_path: Path, output: Path, encoder: FakeEncoder, count: int
) -> None:
    names = numbered(count)
    tiles = write_tiles(tmp_path / "some", names)
    (tiles / names[1]).write_text("broken for now")
    run_build(output, encoder, tiles)
    assert list(reasons(output)) == [names[1]]
    # The file stays as it is, but the encoder has learnt to read it.
    encoder.broken = b"never"
    report = run_build(output, encoder, tiles, retry_rejected=True)
    require_sound(output, expected_rows(tiles, names))
    assert (report.encoded, encoder.encoded, reasons(output)) == (1, [names[1]], {})
    assert run_build(output, encoder, tiles).generation == 2
    assert leftovers(output) == []


def test_equal_contents_and_equal_stems_are_all_indexed(
    tmp_path: Path, output: Path, encoder: FakeEncoder
) -> None:
    names = ["a/tile.png", "b/tile.png", "b/tile.jpg", "c.png"]
    tiles = write_tiles(tmp_path / "some", names)
    (tiles / "c.png").write_bytes((tiles / "a/tile.png").read_bytes())
    report = run_build(output, encoder, tiles)
    require_sound(output, expected_rows(tiles, names))
    assert report.tiles == 4


def test_every_hostile_name_is_counted_once(
    tmp_path: Path, output: Path, encoder: FakeEncoder
) -> None:
    names = ["new\nline.png", "x" * 251 + ".png", "…é.png", "dir\nline/a.b.png", "'\".png"]
    tiles = write_tiles(tmp_path / "some", names)
    with open(bytes(tiles) + b"/caf\xe9.png", "wb") as file:
        file.write(b"tile")
    report = run_build(output, encoder, tiles)
    require_sound(output, expected_rows(tiles, names))
    assert reasons(output) == {"caf\\udce9.png": "the file name is not UTF-8; rename it"}
    assert report.tiles + sum(report.rejected.values()) == 6
    assert run_build(output, encoder, tiles).generation == 1


def test_a_folder_whose_name_is_not_utf_8_can_be_indexed(
    tmp_path: Path, encoder: FakeEncoder
) -> None:
    odd = Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9"))
    tiles = write_tiles(odd / "tiles", numbered(3))
    run_build(odd / "tiles.hx", encoder, tiles)
    require_sound(odd / "tiles.hx", expected_rows(tiles, numbered(3)))
    run_build(tmp_path / "other.hx", encoder, tiles)
    manifest = require_sound(tmp_path / "other.hx", expected_rows(tiles, numbered(3)))
    root = tmp_path / "other.hx" / manifest.settings.root
    assert root.resolve() == tiles.resolve()


def test_a_folder_whose_name_looks_like_an_address_can_be_indexed(
    tmp_path: Path, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tiles = write_tiles(tmp_path / "tiles", numbered(3))
    (tmp_path / "s3:").mkdir()
    run_build(Path("s3:/tiles.hx"), encoder, tiles)
    require_sound(tmp_path / "s3:" / "tiles.hx", expected_rows(tiles, numbered(3)))


def test_the_root_is_kept_relative_so_that_both_can_move(
    tmp_path: Path, encoder: FakeEncoder
) -> None:
    tiles = write_tiles(tmp_path / "here" / "tiles", numbered(3))
    output = tmp_path / "here" / "out" / "tiles.hx"
    run_build(output, encoder, tiles)
    assert read_manifest(output).settings.root == "../../tiles"
    (tmp_path / "here").rename(tmp_path / "there")
    moved, output = tmp_path / "there" / "tiles", tmp_path / "there" / "out" / "tiles.hx"
    assert run_build(output, encoder, moved).generation == 1
    require_sound(output, expected_rows(moved, numbered(3)))


def test_a_file_changed_while_building_is_rejected_and_taken_up_next_time(
    tiles: Path, output: Path, encoder: FakeEncoder
) -> None:
    original = (tiles / "t0004.png").read_bytes()

    def change(path: Path) -> None:
        if path.name == "t0004.png":
            path.write_text("something else")

    encoder.before = change
    report = run_build(output, encoder, tiles)
    reason = "changed while the index was being built: run the build again"
    assert reasons(output) == {"t0004.png": reason}
    assert report.rejected == {"changed while the index was being built": 1}
    rest = [name for name in numbered(20) if name != "t0004.png"]
    require_sound(output, expected_rows(tiles, rest))
    encoder.before = lambda path: None
    # Even if it is what it was when it was hashed.
    (tiles / "t0004.png").write_bytes(original)
    run_build(output, encoder, tiles)
    assert encoder.encoded == ["t0004.png"]
    require_sound(output, expected_rows(tiles, numbered(20)))
    assert reasons(output) == {}


@pytest.mark.parametrize("how", ["gone", "broken meanwhile"])
def test_a_file_out_of_reach_for_a_moment_is_tried_again(
    tmp_path: Path, output: Path, encoder: FakeEncoder, how: str
) -> None:
    tiles = write_tiles(tmp_path / "some", numbered(2))
    data = (tiles / "t0001.png").read_bytes()

    def disturb(path: Path) -> None:
        if path.name == "t0001.png":
            path.unlink()
            if how == "broken meanwhile":
                path.write_bytes(b"broken")

    encoder.before = disturb
    run_build(output, encoder, tiles)
    expected = {
        "gone": "cannot be read (No such file or directory)",
        "broken meanwhile": "changed while the index was being built: run the build again",
    }
    assert reasons(output) == {"t0001.png": expected[how]}
    encoder.before = lambda path: None
    (tiles / "t0001.png").write_bytes(data)
    run_build(output, encoder, tiles)
    require_sound(output, expected_rows(tiles, numbered(2)))
    assert (encoder.encoded, reasons(output)) == (["t0001.png"], {})


def test_nothing_usable_is_refused_and_the_old_index_stands(
    tmp_path: Path, tiles: Path, built: Path, encoder: FakeEncoder
) -> None:
    before = expected_rows(tiles, numbered(20))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError) as caught:
        run_build(built, encoder, empty, add=True)
    assert str(caught.value) == (
        f"{empty}: no images found; expected PNG, JPEG, TIFF, BMP or WebP files"
    )
    broken = write_tiles(tmp_path / "broken", ["a.png", "b.png"], content="broken")
    with pytest.raises(InputError) as caught:
        run_build(built, encoder, broken, replace=True)
    assert str(caught.value) == (
        f"{broken}: none of 2 images can be used, and nothing was changed; "
        "the first: a.png: not an image: 6 bytes of nothing"
    )
    assert read_manifest(built).generation == 1
    assert set(require_sound(built, before).files) == {
        "rows", "vectors", "blocks", "rejected",
        "encoder/config.json", "encoder/model.safetensors",
    }  # fmt: skip
    run_build(built, encoder, tiles)
    assert encoder.encoded == []
    assert leftovers(built) == []


def test_sources_that_cannot_be_used_leave_no_folder_behind(
    tmp_path: Path, output: Path, encoder: FakeEncoder
) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("file\na.png\n")
    for source in (tmp_path / "missing", bad):
        with pytest.raises(InputError):
            run_build(output, encoder, source)
        assert not output.exists()


def test_another_encoder_is_refused_with_both_values(
    tmp_path: Path, tiles: Path, built: Path, encoder: FakeEncoder
) -> None:
    before = files_of(built)
    other = FakeEncoder(folder=tmp_path / "other", fingerprint="e" * 32)
    with pytest.raises(MismatchError) as caught:
        run_build(built, other, tiles)
    assert str(caught.value) == (
        f"{built} was built by encoder {'f' * 32} but this encoder is {'e' * 32}; "
        "pass the matching encoder or build into a new folder"
    )
    assert other.encoded == []
    assert {**files_of(built), "lock": b""} == {**before, "lock": b""}


def test_a_first_build_stays_with_the_encoder_it_was_begun_with(
    tmp_path: Path, tiles: Path, output: Path, encoder: FakeEncoder
) -> None:
    _interrupt_at(encoder, "t0012.png")
    with pytest.raises(KeyboardInterrupt):
        run_build(output, encoder, tiles)
    other = FakeEncoder(folder=tmp_path / "other", fingerprint="e" * 32)
    with pytest.raises(MismatchError) as caught:
        run_build(output, other, tiles)
    assert f"was finished by encoder {'f' * 32} but this encoder is {'e' * 32}" in str(caught.value)
    encoder.before = lambda path: None
    run_build(output, encoder, tiles)
    require_sound(output, expected_rows(tiles, numbered(20)))
    # The first shard was finished, and was not encoded again.
    assert encoder.encoded == numbered(12, start=8)


def test_a_first_build_that_finished_no_shard_may_go_on_with_another_encoder(
    tmp_path: Path, tiles: Path, output: Path, encoder: FakeEncoder
) -> None:
    _interrupt_at(encoder, "t0003.png")
    with pytest.raises(KeyboardInterrupt):
        run_build(output, encoder, tiles)
    other = FakeEncoder(folder=tmp_path / "other", fingerprint="e" * 32)
    run_build(output, other, tiles)
    manifest = require_sound(output, expected_rows(tiles, numbered(20)))
    assert manifest.fingerprint == "e" * 32
    assert "e" * 32 in (output / "encoder" / "config.json").read_text()


def _interrupt_at(encoder: FakeEncoder, name: str) -> None:
    def interrupt(path: Path) -> None:
        if path.name == name:
            raise KeyboardInterrupt

    encoder.before = interrupt


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, MemoryError])
def test_an_exception_leaves_the_old_state_and_the_finished_shards(
    tiles: Path, built: Path, encoder: FakeEncoder, error: type[BaseException]
) -> None:
    before = expected_rows(tiles, numbered(20))
    write_tiles(tiles, numbered(20, start=20))

    def fail(path: Path) -> None:
        if path.name == "t0037.png":
            raise error("the encoder is broken")

    encoder.before = fail
    with pytest.raises(error):
        run_build(built, encoder, tiles)
    index = OpenIndex(built)
    assert (index.manifest.generation, len(index)) == (1, 20)
    require_sound(built, before)
    encoder.before = lambda path: None
    report = run_build(built, encoder, tiles)
    require_sound(built, expected_rows(tiles, numbered(40)))
    # Shards of 8 from tile 20 on: the third was not finished.
    assert encoder.encoded == numbered(4, start=36)
    assert report.generation == 2
    assert leftovers(built) == []


def test_a_folder_that_is_something_else_is_refused_and_left_alone(
    tmp_path: Path, tiles: Path, encoder: FakeEncoder
) -> None:
    project = tmp_path / "project"
    for name in ("notes.txt", "lock", "manifest.json", "encoder/config.json"):
        folder = project / name.replace("/", "-")
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("mine")
        (folder / "zebra").mkdir()
        before = files_of(folder)
        with pytest.raises(Exception) as caught:
            run_build(folder, encoder, tiles)
        assert files_of(folder) == before
        if name == "manifest.json":
            assert f"{folder}/manifest.json: damaged: " in str(caught.value)
        else:
            first = {"lock": "zebra", "encoder/config.json": "encoder"}.get(name, name)
            assert str(caught.value) == (
                f"{folder} is no index and holds other files ({first}); pass a new folder"
            )
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(InputError) as caught_file:
        run_build(file, encoder, tiles)
    assert str(caught_file.value) == (
        f"{file} is a file; pass a folder for the index, such as tiles.hx"
    )


def test_an_encoder_folder_alone_is_not_taken_for_an_index(
    tmp_path: Path, tiles: Path, encoder: FakeEncoder
) -> None:
    models = tmp_path / "models"
    (models / "encoder").mkdir(parents=True)
    (models / "encoder" / "config.json").write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        run_build(models, encoder, tiles)
    assert (models / "encoder" / "config.json").read_text() == "mine"


def test_files_of_others_inside_an_index_are_left_alone(
    tiles: Path, built: Path, encoder: FakeEncoder
) -> None:
    own = ["README.txt", "search/notes.txt", "embeddings/x.txt", "search/000001/x", "encoder/x"]
    for name in own:
        (built / name).write_text("mine")
    write_tiles(tiles, ["z.png"])
    assert run_build(built, encoder, tiles).generation == 2
    assert all((built / name).read_text() == "mine" for name in own)
    require_sound(built, expected_rows(tiles, [*numbered(20), "z.png"]))


def test_folders_and_checkpoints_in_the_encoders_folder_are_not_copied(
    tiles: Path, output: Path, encoder: FakeEncoder
) -> None:
    (encoder.folder / "checkpoints").mkdir()
    (encoder.folder / "checkpoints" / "big.pt").write_text("x")
    (encoder.folder / "checkpoint.pt").write_text("x")
    (encoder.folder / ".checkpoint.pt.4711").write_text("x")
    run_build(output, encoder, tiles)
    found = sorted(path.name for path in (output / "encoder").iterdir())
    assert found == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("how", ["missing", "damaged"])
def test_damaged_encoder_file_is_copied_again(
    tiles: Path, built: Path, encoder: FakeEncoder, how: str
) -> None:
    file = built / "encoder" / "model.safetensors"
    whole = file.read_bytes()
    file.unlink()
    if how == "damaged":
        file.write_bytes(b"x" + whole[1:])
    run_build(built, encoder, tiles)
    assert file.read_bytes() == whole
    assert encoder.encoded == []
    require_sound(built, expected_rows(tiles, numbered(20)))
    assert run_build(built, encoder, tiles).generation == 1


def test_index_keeps_the_first_description_of_its_encoder(
    tiles: Path, built: Path, encoder: FakeEncoder
) -> None:
    # The copy in the index says so too, and a committed file is never changed.
    before = files_of(built / "encoder")
    encoder.threshold = 0.6
    (encoder.folder / "config.json").write_text('{"threshold": 0.6}')
    assert run_build(built, encoder, tiles).generation == 1
    write_tiles(tiles, ["z.png"])
    run_build(built, encoder, tiles)
    manifest = require_sound(built, expected_rows(tiles, [*numbered(20), "z.png"]))
    assert manifest.encoder.threshold == ThresholdRecord(value=0.5, origin="chosen for tests")
    assert files_of(built / "encoder") == before


@pytest.mark.parametrize("bad", [[], ["bad.png"]], ids=["empty", "not empty"])
@pytest.mark.parametrize("how", ["missing", "damaged"])
def test_damaged_rejected_list_is_rebuilt(
    tiles: Path,
    output: Path,
    encoder: FakeEncoder,
    caplog: pytest.LogCaptureFixture,
    how: str,
    bad: list[str],
) -> None:
    write_tiles(tiles, bad, content="broken {}")
    report = run_build(output, encoder, tiles)
    file = output / report.rejected_file
    if how == "missing":
        file.unlink()
    else:
        file.write_bytes(b"x" * file.stat().st_size)
    # The receipt of the shard knows it too; without it the tile is tried again.
    run_build(output, encoder, tiles)
    assert caplog.messages[0].startswith(f"{file}: {how}")
    assert caplog.messages[0].endswith("run `histo-index build` again, which writes the list again")
    assert reasons(output) == dict.fromkeys(bad, "not an image: 14 bytes of nothing")
    require_sound(output, expected_rows(tiles, numbered(20)))


def test_shard_records_every_runtime_that_computed_it(
    tmp_path: Path, output: Path, encoder: FakeEncoder
) -> None:
    tiles = write_tiles(tmp_path / "some", numbered(2))
    run_build(output, encoder, tiles)
    write_tiles(tiles, numbered(1, start=2))
    encoder.runtime = "faster fake"
    run_build(output, encoder, tiles)
    (shard,) = read_manifest(output).shards
    assert shard.runtime == {"name": "fake, faster fake", "device": "cpu", "precision": "float32"}
    (tiles / "t0000.png").unlink()
    run_build(output, encoder, tiles)
    (shard,) = read_manifest(output).shards
    assert shard.runtime["name"] == "fake, faster fake"


def test_progress_and_report_add_up(tiles: Path, output: Path, encoder: FakeEncoder) -> None:
    write_tiles(tiles, ["bad.png"], content="broken {}")
    seen: list[tuple[str, int, int]] = []

    def tell(state: BuildProgress) -> None:
        seen.append((state.stage, state.done, state.total))

    config = BuildConfig(sources=[tiles], output=output, shard_rows=8)
    build(config, encoder, tell)
    encoding = [entry for entry in seen if entry[0] == "encoding"]
    assert encoding == [("encoding", done, 21) for done in range(22)]
    assert ("hashing", 21, 21) in seen
    assert seen[-1][0] == "committing"


def test_settings_out_of_range_are_refused(tmp_path: Path) -> None:
    for rows in (0, -1, 1_000_001):
        with pytest.raises(InputError) as caught:
            BuildConfig(sources=[tmp_path], output=tmp_path, shard_rows=rows)
        assert str(caught.value) == f"shard_rows is {rows}; expected 1 to 1,000,000"


def test_the_plan_on_disk_names_every_task_and_goes_when_it_is_done(
    tiles: Path, output: Path, encoder: FakeEncoder
) -> None:
    _interrupt_at(encoder, "t0012.png")
    with pytest.raises(KeyboardInterrupt):
        run_build(output, encoder, tiles)
    plan = pq.read_table(output / "plan.parquet")
    assert plan.column_names == ["shard_id", "image_id", "path", "sha256"]
    assert plan["path"].to_pylist() == numbered(20)
    ids = plan["shard_id"].to_pylist()
    assert [ids.count(name) for name in dict.fromkeys(ids)] == [8, 8, 4]
    done = [path.stem.removeprefix("part-") for path in output.glob("embeddings/*.json")]
    assert done == [ids[0]]
    encoder.before = lambda path: None
    run_build(output, encoder, tiles)
    assert not (output / "plan.parquet").exists()


def test_every_input_of_a_random_mix_is_counted_exactly_once(
    tmp_path: Path, encoder: FakeEncoder
) -> None:
    kinds: list[Callable[[Path], object]] = [
        lambda path: path.with_suffix(".png").write_text(f"tile {path.name}"),
        lambda path: path.with_suffix(".jpg").write_text("the same"),
        lambda path: path.with_suffix(".tif").write_text(f"broken {path.name}"),
        lambda path: path.with_suffix(".bmp").symlink_to("/etc/hostname"),
        lambda path: path.with_suffix(".txt").write_text("notes"),
        lambda path: path.with_suffix(".webp").symlink_to("nowhere"),
    ]
    for seed in range(10):
        random = np.random.default_rng(seed)
        drawn = random.integers(0, len(kinds), 30).tolist()
        tiles = tmp_path / f"mix{seed}"
        for number, kind in enumerate([0, *drawn]):
            folder = tiles / f"f{number % 4}"
            folder.mkdir(parents=True, exist_ok=True)
            kinds[kind](folder / f"x{number}")
        report = run_build(tmp_path / f"{seed}.hx", encoder, tiles, tiles / "f1")
        counts = [drawn.count(kind) for kind in range(len(kinds))]
        assert report.tiles == 1 + counts[0] + counts[1]
        assert report.ignored == counts[4]
        assert len(reasons(tmp_path / f"{seed}.hx")) == counts[2] + counts[3] + counts[5]
        names = list_tiles([tiles]).table["path"].to_pylist()
        good = [name for name in names if name.endswith(("png", "jpg"))]
        require_sound(tmp_path / f"{seed}.hx", expected_rows(tiles, good))


def test_row_order_follows_the_tiles(tiles: Path, built: Path) -> None:
    assert OpenIndex(built).rows["path"].to_pylist() == numbered(20)
    assert OpenIndex(built).rows["path"].type == pa.string()


def test_an_index_keeps_its_shard_rows_and_another_number_is_no_change(
    tiles: Path, built: Path, encoder: FakeEncoder
) -> None:
    for shard_rows in (None, 8, 16):
        assert run_build(built, encoder, tiles, shard_rows=shard_rows).generation == 1
        assert read_manifest(built).settings.shard_rows == 8
    write_tiles(tiles, numbered(20, start=20))
    run_build(built, encoder, tiles, shard_rows=None)
    manifest = require_sound(built, expected_rows(tiles, numbered(40)))
    assert [shard.rows for shard in manifest.shards] == [8, 8, 4, 8, 8, 4]
    write_tiles(tiles, numbered(20, start=40))
    run_build(built, encoder, tiles, shard_rows=10)
    assert read_manifest(built).settings.shard_rows == 10


def test_a_small_first_build_measures_nothing(
    tiles: Path, output: Path, encoder: FakeEncoder
) -> None:
    run_build(output, encoder, tiles, shard_rows=None)
    assert read_manifest(output).settings.shard_rows == 1024


@pytest.mark.parametrize("retry", [False, True])
def test_a_lower_pixel_limit_drops_what_is_larger_without_encoding(
    tmp_path: Path, output: Path, encoder: FakeEncoder, retry: bool
) -> None:
    # 14 × 116 pixels each, and 20 × 116.
    tiles = write_tiles(tmp_path / "some", [*numbered(10), "t0003-larger.png"])
    size = f"{len('tile t0003-larger.png')}×{ord('t')}"
    encoder.max_pixels = 5000
    run_build(output, encoder, tiles)
    require_sound(output, expected_rows(tiles, [*numbered(10), "t0003-larger.png"]))
    encoder.max_pixels = 2000
    report = run_build(output, encoder, tiles, retry_rejected=retry)
    require_sound(output, expected_rows(tiles, numbered(10)))
    words = f"too large: {size} pixels, the limit is 2,000"
    assert reasons(output) == {
        "t0003-larger.png": f"{words}; cut it into tiles or raise --max-pixels"
    }
    assert (encoder.encoded, report.dropped, report.rejected) == ([], 1, {"too large": 1})
    again = run_build(output, encoder, tiles)
    assert (again.generation, again.dropped, encoder.encoded) == (2, 0, [])
    encoder.max_pixels = 5000
    run_build(output, encoder, tiles)
    require_sound(output, expected_rows(tiles, [*numbered(10), "t0003-larger.png"]))
    assert encoder.encoded == ["t0003-larger.png"]


def test_too_large_image_has_the_message_of_the_encoder(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    encoder = FakeEncoder(folder=tmp_path / "fake", max_pixels=100_000)
    run_build(tmp_path / "a.hx", encoder, tmp_path / "a.png")
    height = (tmp_path / "a.png").read_bytes()[0]
    width = (tmp_path / "a.png").stat().st_size
    encoder.max_pixels = 599
    with pytest.raises(InputError) as said:
        run_build(tmp_path / "a.hx", encoder, tmp_path / "a.png")
    with pytest.raises(ImageError) as expected:
        read_tile(tmp_path / "a.png", DecodeLimits(max_pixels=599))
    words = str(expected.value).removeprefix(f"{tmp_path}/").replace("30×20", f"{width}×{height}")
    assert str(said.value).endswith(f"; the first: {words}")


def test_report_counts_dropped_tiles(
    tmp_path: Path, tiles: Path, output: Path, encoder: FakeEncoder
) -> None:
    assert run_build(output, encoder, tiles).dropped == 0
    for name in ("t0003.png", "t0019.png"):
        (tiles / name).unlink()
    (tiles / "t0005.png").write_text("broken now")
    (tiles / "t0006.png").write_text("another picture")
    write_tiles(tiles, ["new.png"])
    assert run_build(output, encoder, tiles).dropped == 3
    assert run_build(output, encoder, tiles).dropped == 0
    listed = tiles / "labels.csv"
    listed.write_text("path,image_id\nt0007.png,t0008.png\n")
    assert run_build(output, encoder, listed, replace=True).dropped == 17


def test_another_root_is_reported(
    tmp_path: Path, tiles: Path, built: Path, encoder: FakeEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    run_build(built, encoder, tiles)
    assert caplog.messages == []
    write_tiles(tmp_path / "more", ["z.png"])
    report = run_build(built, encoder, tiles, tmp_path / "more", add=True)
    assert caplog.messages == [f"paths now start from {tmp_path}, before from {tiles}"]
    assert report.dropped == 0


@pytest.mark.parametrize("exists", [False, True])
def test_without_one_tile_nothing_is_made(
    tmp_path: Path, output: Path, encoder: FakeEncoder, exists: bool
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    header = tmp_path / "header.csv"
    header.write_text("path,label\n")
    if exists:
        output.mkdir()
    words = {
        empty: "no images found; expected PNG, JPEG, TIFF, BMP or WebP files",
        header: "lists no tiles; expected a row for each",
    }
    for source, problem in words.items():
        with pytest.raises(InputError) as caught:
            run_build(output, encoder, source)
        assert str(caught.value) == f"{source}: {problem}"
        assert output.exists() == exists
        assert not exists or not any(output.iterdir())


def _refuse(path: Path) -> None:
    raise InputError("no CUDA device here")


def test_a_first_build_that_fails_at_once_leaves_no_folder_behind(
    tiles: Path, output: Path, encoder: FakeEncoder
) -> None:
    encoder.before = _refuse
    with pytest.raises(InputError, match="no CUDA device here"):
        run_build(output, encoder, tiles)
    assert not output.exists()
    broken = write_tiles(tiles.parent / "broken", ["a.png"], content="broken")
    encoder.before = lambda path: None
    with pytest.raises(InputError, match="none of 1 image can be used"):
        run_build(output, encoder, broken)
    assert not output.exists()


def test_a_first_build_that_fails_removes_nothing_that_is_not_its_own(
    tiles: Path, output: Path, encoder: FakeEncoder
) -> None:
    encoder.before = _refuse
    output.mkdir()
    with pytest.raises(InputError):
        run_build(output, encoder, tiles)
    assert (output / "lock").exists()  # it was there before
    other = output.with_name("other.hx")

    def interfere(path: Path) -> None:
        (other / "mine.txt").write_text("mine")
        (other / "encoder" / "mine.txt").write_text("mine")
        _refuse(path)

    encoder.before = interfere
    with pytest.raises(InputError):
        run_build(other, encoder, tiles)
    assert sorted(files_of(other)) == ["encoder/mine.txt", "lock", "mine.txt"]


def test_a_first_build_that_fails_later_keeps_its_finished_shards(
    tiles: Path, output: Path, encoder: FakeEncoder
) -> None:
    encoder.before = lambda path: _refuse(path) if path.name == "t0012.png" else None
    with pytest.raises(InputError):
        run_build(output, encoder, tiles)
    encoder.before = lambda path: None
    run_build(output, encoder, tiles)
    assert encoder.encoded == numbered(12, start=8)
