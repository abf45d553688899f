"""What an index was built from is remembered, and no habit drops tiles or labels silently."""

from pathlib import Path
from typing import Any

import pytest

from histo_index.errors import InputError
from histo_index.indexer.format.manifest import read_manifest
from histo_index.indexer.format.records import SourceRecord
from histo_index.indexer.reader import OpenIndex
from tests.indexer.fakes import FakeEncoder, expected_rows, numbered, run_build, write_tiles

LABELS = "path,label,group\n" + "".join(f"{name},x{name[4]},p1\n" for name in numbered(6))


def rows_of(index: Path, *columns: str) -> dict[str, tuple[Any, ...]]:
    """Read columns of every tile, by image id."""
    found = OpenIndex(index).rows.to_pylist()
    return {row["image_id"]: tuple(row.get(name) for name in columns) for row in found}


@pytest.fixture
def labelled(tmp_path: Path, output: Path, encoder: FakeEncoder) -> Path:
    """Six tiles with labels; gives their folder."""
    tiles = write_tiles(tmp_path / "lab", numbered(6))
    (tmp_path / "lab.csv").write_text(LABELS)
    run_build(output, encoder, tiles, manifest=tmp_path / "lab.csv")
    assert rows_of(output, "label")["t0003.png"] == ("x3",)
    return tiles


def test_sources_are_remembered_relative_to_the_index(labelled: Path, output: Path) -> None:
    record = SourceRecord(
        paths=("../lab",),
        manifest="../lab.csv",
        base="../lab",
        prefix="",
        columns=("label", "group"),
        slides=None,
    )
    assert read_manifest(output).sources == (record,)


def test_build_without_tiles_updates_all_sources(
    tmp_path: Path, tiles: Path, output: Path, encoder: FakeEncoder
) -> None:
    run_build(output, encoder, tiles)
    more = write_tiles(tmp_path / "more", ["a.png"], content="more {}")
    run_build(output, encoder, more, add=True)
    write_tiles(tiles, ["new.png"])
    write_tiles(more, ["b.png"], content="more {}")
    report = run_build(output, encoder)
    assert (sorted(encoder.encoded), report.tiles, report.dropped) == (["b.png", "new.png"], 23, 0)
    names = [*numbered(20), "new.png", "more/a.png", "more/b.png"]
    assert sorted(rows_of(output)) == sorted(names)


def test_a_first_build_without_tiles_is_refused(output: Path, encoder: FakeEncoder) -> None:
    with pytest.raises(InputError, match="no tiles given; pass a folder, image files or a"):
        run_build(output, encoder)
    assert not output.exists()


def test_another_folder_is_refused_and_add_and_replace_are_named(
    tmp_path: Path, labelled: Path, output: Path, encoder: FakeEncoder
) -> None:
    other = write_tiles(tmp_path / "other", ["z.png"])
    before = rows_of(output, "label")
    with pytest.raises(InputError) as caught:
        run_build(output, encoder, other)
    assert str(caught.value) == (
        f"{other} is not a source of {output} yet, which holds the tiles of {labelled}, "
        f"{tmp_path / 'lab.csv'}; nothing was changed: pass --add to add it, or --replace to keep "
        "only what is named"
    )
    assert rows_of(output, "label") == before
    added = run_build(output, encoder, other, add=True)
    assert (added.tiles, added.encoded, added.dropped) == (7, 1, 0)
    assert rows_of(output, "label") == before | {"other/z.png": (None,)}
    replaced = run_build(output, encoder, other, replace=True)
    assert (replaced.tiles, replaced.dropped, encoder.encoded) == (1, 7, [])
    assert rows_of(output) == {"z.png": ()}


def test_a_missing_path_is_named_before_anything_else(
    tmp_path: Path, labelled: Path, output: Path, encoder: FakeEncoder
) -> None:
    with pytest.raises(InputError, match=r"lab2: no such file or folder$"):
        run_build(output, encoder, tmp_path / "lab2")


@pytest.mark.parametrize("named", ["folder", "manifest", "nothing"])
def test_a_forgotten_manifest_is_read_again(
    tmp_path: Path, labelled: Path, output: Path, encoder: FakeEncoder, named: str
) -> None:
    listed = tmp_path / "lab.csv"
    listed.write_text(LABELS.replace("x3", "new"))
    sources = {"folder": [labelled], "manifest": [listed], "nothing": []}[named]
    report = run_build(output, encoder, *sources)
    assert (report.tiles, encoder.encoded) == (6, [])
    assert rows_of(output, "label", "group")["t0003.png"] == ("new", "p1")


@pytest.mark.parametrize("listed", ["beside", "alone"])
def test_images_of_a_named_folder_that_the_remembered_manifest_lacks_are_counted(
    tmp_path: Path,
    output: Path,
    encoder: FakeEncoder,
    caplog: pytest.LogCaptureFixture,
    listed: str,
) -> None:
    tiles = write_tiles(tmp_path / "lab", numbered(6))
    (tiles / "lab.csv").write_text(LABELS)
    run_build(output, encoder, *([tiles] if listed == "beside" else []), manifest=tiles / "lab.csv")
    write_tiles(tiles, ["sub/a.png", "b.png"])
    caplog.clear()
    assert run_build(output, encoder, tiles).tiles == 6
    assert caplog.messages == [
        f"{tiles / 'lab.csv'} does not list 2 images of {tiles}: left out; add rows, or pass "
        "--no-manifest"
    ]


def test_images_that_the_manifest_of_a_first_build_does_not_list_are_counted(
    tmp_path: Path, output: Path, encoder: FakeEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    tiles = write_tiles(tmp_path / "lab", numbered(3))
    (tmp_path / "lab.csv").write_text("path,label\nt0001.png,fat\n")
    assert run_build(output, encoder, tiles, manifest=tmp_path / "lab.csv").tiles == 1
    assert caplog.messages[0] == (
        f"{tmp_path / 'lab.csv'} does not list 2 images of {tiles}: left out; add rows, or pass "
        "--no-manifest"
    )


def test_without_its_manifest_an_index_keeps_tiles_and_columns(
    tmp_path: Path,
    labelled: Path,
    output: Path,
    encoder: FakeEncoder,
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = rows_of(output, "label", "group")
    (tmp_path / "lab.csv").unlink()
    report = run_build(output, encoder, labelled)
    assert (report.tiles, report.generation, rows_of(output, "label", "group")) == (6, 1, before)
    assert caplog.messages == [
        f"{tmp_path / 'lab.csv'}: gone; the tiles and columns it gave stay as they were: pass "
        "--manifest FILE to name another, or --no-manifest to drop the columns"
    ]
    caplog.clear()
    run_build(output, encoder, labelled, no_manifest=True)
    assert rows_of(output, "label") == dict.fromkeys(before, (None,))
    assert caplog.messages == ["dropped, because no source has it any more: column label, group"]
    assert read_manifest(output).sources[0].manifest is None


def test_new_manifest_replaces_the_old_if_it_has_its_columns(
    tmp_path: Path, labelled: Path, output: Path, encoder: FakeEncoder
) -> None:
    poorer = tmp_path / "poorer.csv"
    poorer.write_text(LABELS.replace(",p1", "").replace(",group", ""))
    with pytest.raises(InputError) as caught:
        run_build(output, encoder, labelled, manifest=poorer)
    assert str(caught.value) == (
        f"{poorer}: lacks the column `group`, which this source gave before; add it, or pass "
        "--replace to drop it"
    )
    richer = tmp_path / "richer.csv"
    richer.write_text(LABELS.replace(",p1", ",p2,1").replace("group", "group,n"))
    run_build(output, encoder, labelled, manifest=richer)
    assert rows_of(output, "group", "n")["t0000.png"] == ("p2", 1)
    assert len(read_manifest(output).sources) == 1


def test_a_manifest_is_added_to_tiles_that_are_there(
    tmp_path: Path, tiles: Path, output: Path, encoder: FakeEncoder
) -> None:
    run_build(output, encoder, tiles)
    (tiles / "some.csv").write_text("path,label\nt0000.png,x\nt0001.png,y\n")
    report = run_build(output, encoder, tiles / "some.csv", add=True)
    assert (report.tiles, report.dropped, encoder.encoded) == (20, 0, [])
    found = rows_of(output, "label")
    assert (found["t0000.png"], found["t0001.png"], found["t0002.png"]) == (
        ("x",), ("y",), (None,),
    )  # fmt: skip


@pytest.mark.parametrize("how", ["gone", "empty"])
def test_a_source_that_is_gone_or_empty_keeps_its_tiles(
    tmp_path: Path, tiles: Path, output: Path, encoder: FakeEncoder, how: str
) -> None:
    share = write_tiles(tmp_path / "share", ["a.png", "b.png"])
    run_build(output, encoder, tiles)
    run_build(output, encoder, share, add=True)
    share.rename(tmp_path / "unmounted")
    if how == "empty":
        share.mkdir()
    with pytest.raises(InputError) as caught:
        run_build(output, encoder)
    reason = {
        "gone": "cannot be read (No such file or directory)",
        "empty": "no images are there (is a share not mounted?)",
    }[how]
    assert str(caught.value) == (
        f"{share}: {reason}; 2 tiles of the index came from there and were kept: make it available "
        "again, or pass --drop-missing-source to drop them"
    )
    assert len(OpenIndex(output)) == 22
    report = run_build(output, encoder, drop_missing_source=True)
    assert (report.tiles, report.dropped, sorted(rows_of(output))) == (20, 2, numbered(20))


def test_one_of_several_folders_that_is_gone_can_be_dropped_and_ids_stay(
    tmp_path: Path, output: Path, encoder: FakeEncoder
) -> None:
    one = write_tiles(tmp_path / "one", ["a.png", "c.png"])
    two = write_tiles(tmp_path / "two", ["b.png"], content="two {}")
    run_build(output, encoder, one, two)
    (two / "b.png").unlink()
    two.rmdir()
    with pytest.raises(InputError, match=r"two: cannot be read .* 1 tile of the index came from"):
        run_build(output, encoder)
    run_build(output, encoder, drop_missing_source=True)
    assert list(rows_of(output)) == ["one/a.png", "one/c.png"]
    assert [record.paths for record in read_manifest(output).sources] == [("../one",)]


def test_a_build_that_would_drop_more_than_half_of_the_tiles_stops(
    tiles: Path, output: Path, encoder: FakeEncoder
) -> None:
    run_build(output, encoder, tiles)
    for name in numbered(10):
        (tiles / name).unlink()
    assert run_build(output, encoder, tiles, allow_drop=False).dropped == 10
    for name in numbered(6, start=10):
        (tiles / name).unlink()
    with pytest.raises(InputError) as caught:
        run_build(output, encoder, tiles, allow_drop=False)
    assert str(caught.value) == (
        f"{output}: this build would drop 6 of 10 tiles; nothing was changed: check the sources, "
        "or pass --allow-drop"
    )
    assert len(OpenIndex(output)) == 10
    assert run_build(output, encoder, tiles, allow_drop=True).tiles == 4


def test_renamed_files_are_no_dropped_tiles(
    tiles: Path, output: Path, encoder: FakeEncoder
) -> None:
    run_build(output, encoder, tiles)
    (tiles / "sub").mkdir()
    for name in numbered(20):
        (tiles / name).rename(tiles / "sub" / name)
    report = run_build(output, encoder, tiles, allow_drop=False)
    assert (report.tiles, report.dropped, encoder.encoded) == (20, 20, [])


def test_equal_image_ids_of_two_sources_are_kept_apart(
    tmp_path: Path, output: Path, encoder: FakeEncoder
) -> None:
    for site in ("x", "y", "z"):
        folder = write_tiles(tmp_path / site / "tiles", ["a.png"], content=f"{site} {{}}")
        run_build(output, encoder, folder, add=True)
    assert list(rows_of(output, "path").items()) == [
        ("a.png", ("x/tiles/a.png",)),
        ("tiles/a.png", ("y/tiles/a.png",)),
        ("z/tiles/a.png", ("z/tiles/a.png",)),
    ]


def test_tile_in_two_sources_is_one_tile(
    tmp_path: Path, tiles: Path, output: Path, encoder: FakeEncoder
) -> None:
    write_tiles(tiles, ["sub/a.png"])
    run_build(output, encoder, tiles / "sub")
    report = run_build(output, encoder, tiles, add=True)
    expected = {"a.png", *(f"tiles/{name}" for name in numbered(20))}
    assert (report.tiles, report.rejected, set(rows_of(output))) == (21, {}, expected)


def test_columns_that_cannot_be_joined_are_named(
    tmp_path: Path, tiles: Path, output: Path, encoder: FakeEncoder
) -> None:
    (tiles / "one.csv").write_text("path,n\nt0000.png,1\n")
    (tiles / "two.csv").write_text("path,n\nt0001.png,none\n")
    run_build(output, encoder, tiles / "one.csv")
    with pytest.raises(InputError) as caught:
        run_build(output, encoder, tiles / "two.csv", add=True)
    assert str(caught.value) == (
        "column `n` is int64 in one source and string in another; write it alike in both, or "
        "rename one"
    )


@pytest.mark.parametrize("where", ["manifest", "folder", "here"])
def test_manifest_paths_start_where_its_files_are_found(
    tmp_path: Path,
    output: Path,
    encoder: FakeEncoder,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    tiles = write_tiles(tmp_path / "data" / "tiles", ["a.png", "b.png"])
    (tmp_path / "lists").mkdir()
    listed = tmp_path / "lists" / "labels.csv"
    start = {"manifest": "../data/tiles/", "folder": "", "here": "data/tiles/"}[where]
    if where == "manifest":
        listed, start = tmp_path / "labels.csv", "data/tiles/"
    listed.write_text(f"path\n{start}a.png\n{start}b.png\nmissing.png\n")
    monkeypatch.chdir(tmp_path if where == "here" else "/")
    report = run_build(output, encoder, tiles, manifest=listed)
    assert (report.tiles, report.rejected) == (2, {"cannot be read": 1})
    # From another working directory it is found again.
    monkeypatch.chdir("/")
    assert run_build(output, encoder).tiles == 2


def test_manifest_without_any_found_file_names_the_folder_searched(
    tmp_path: Path, tiles: Path, output: Path, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = tmp_path / "labels.csv"
    listed.write_text("path\ntypo/a.png\ntypo/b.png\n")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(InputError) as caught:
        run_build(output, encoder, tiles, manifest=listed)
    tried = ", ".join(str(tmp_path / p / "typo/a.png") for p in ("tiles", "", "here"))
    assert str(caught.value) == f"{listed}: none of its files was found; tried {tried}"


def test_options_that_contradict_each_other_are_refused(
    tiles: Path, output: Path, encoder: FakeEncoder
) -> None:
    for options, message in (
        ({"add": True, "replace": True}, "--add and --replace contradict each other"),
        ({"no_manifest": True, "manifest": Path("x.csv")}, "--manifest and --no-manifest contra"),
    ):
        with pytest.raises(InputError, match=message):
            run_build(output, encoder, tiles, **options)
    with pytest.raises(InputError, match="--replace needs a folder, image files or a manifest"):
        run_build(output, encoder, replace=True)


def _interrupt_at(encoder: FakeEncoder, name: str) -> None:
    def stop(path: Path) -> None:
        if path.name == name:
            raise KeyboardInterrupt

    encoder.before = stop


def test_a_source_that_was_being_added_when_a_build_was_interrupted_is_not_forgotten(
    tmp_path: Path,
    tiles: Path,
    output: Path,
    encoder: FakeEncoder,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run_build(output, encoder, tiles)
    more = write_tiles(tmp_path / "more", numbered(20), content="more {}")
    _interrupt_at(encoder, "t0010.png")
    with pytest.raises(KeyboardInterrupt):
        run_build(output, encoder, more, add=True)
    encoder.before = lambda path: None
    report = run_build(output, encoder)
    # The last shard of the first build had room for four.
    assert (report.tiles, encoder.encoded) == (40, numbered(16, start=4))
    assert [m for m in caplog.messages if "interrupted" in m] == [
        f"{output}: an interrupted build was adding {more}, and this goes on; name the other "
        "sources with --replace to leave it out"
    ]


def test_interrupted_replacement_of_sources_is_forgotten(
    tmp_path: Path, tiles: Path, output: Path, encoder: FakeEncoder
) -> None:
    run_build(output, encoder, tiles)
    more = write_tiles(tmp_path / "more", numbered(20), content="more {}")
    _interrupt_at(encoder, "t0010.png")
    with pytest.raises(KeyboardInterrupt):
        run_build(output, encoder, more, replace=True)
    encoder.before = lambda path: None
    assert run_build(output, encoder).tiles == 20
    assert OpenIndex(output).rows["image_id"].to_pylist() == numbered(20)


def test_interrupted_first_build_resumes_without_naming_its_tiles(
    tiles: Path, output: Path, encoder: FakeEncoder
) -> None:
    _interrupt_at(encoder, "t0010.png")
    with pytest.raises(KeyboardInterrupt):
        run_build(output, encoder, tiles)
    encoder.before = lambda path: None
    run_build(output, encoder, shard_rows=None)
    assert encoder.encoded == numbered(12, start=8)
    assert read_manifest(output).settings.shard_rows == 8
    assert OpenIndex(output).rows.num_rows == len(expected_rows(tiles, numbered(20)))


def test_both_move_together_and_sources_are_found_again(
    tmp_path: Path, encoder: FakeEncoder
) -> None:
    write_tiles(tmp_path / "here" / "tiles", numbered(3))
    run_build(tmp_path / "here" / "out" / "x.hx", encoder, tmp_path / "here" / "tiles")
    (tmp_path / "here").rename(tmp_path / "there")
    report = run_build(tmp_path / "there" / "out" / "x.hx", encoder)
    assert (report.tiles, report.generation, encoder.encoded) == (3, 1, [])


def test_a_part_of_a_known_folder_is_known(
    tmp_path: Path, output: Path, encoder: FakeEncoder
) -> None:
    tiles = write_tiles(tmp_path / "whole", ["s/a.png", "t/b.png"])
    whole = tmp_path / "whole.hx"
    run_build(whole, encoder, tiles)
    write_tiles(tiles, ["s/c.png"])
    assert run_build(whole, encoder, tiles / "s").tiles == 3
    with pytest.raises(InputError, match="no such file or folder"):
        run_build(whole, encoder, tiles / "gone")
