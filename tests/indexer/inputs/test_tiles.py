"""Every input ends in exactly one place: a tile, a rejection, or the count of ignored files."""

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from histo_index.errors import InputError
from histo_index.indexer.format.shards import Rejection
from histo_index.indexer.inputs.tile_list import TileList
from histo_index.indexer.inputs.tiles import list_tiles
from tests.indexer.fakes import write_tiles

OUTSIDE = "lies outside the folder that paths start from; pass another beside --manifest"
LINK_OUT = "a symbolic link out of the source folder"
LINK_FOLDER = "a linked folder is not followed; pass it as another source"


def names_of(found: TileList) -> list[str]:
    """Give the names of the tiles; by folder, image id and path are one."""
    assert found.table["image_id"].equals(found.table["path"])
    names: list[str] = found.table["path"].to_pylist()
    return names


def rejections(found: TileList) -> list[tuple[str, str]]:
    return sorted((entry.path, entry.reason) for entry in found.rejected)


def test_a_folder_is_searched_through_and_its_names_are_sorted(tmp_path: Path) -> None:
    write_tiles(tmp_path, ["b.png", "sub/deep/a.jpg", "sub/c.tif", "a.png"])
    found = list_tiles([tmp_path])
    assert names_of(found) == ["a.png", "b.png", "sub/c.tif", "sub/deep/a.jpg"]
    assert found.root == tmp_path.resolve()
    assert found.table.schema == pa.schema([("image_id", pa.string()), ("path", pa.string())])
    assert (found.rejected, found.ignored) == ([], 0)


@pytest.mark.parametrize(
    "suffix", [".png", ".PNG", ".Jpg", ".jpeg", ".tif", ".TIFF", ".bmp", ".webp"]
)
def test_the_case_of_a_suffix_does_not_matter(tmp_path: Path, suffix: str) -> None:
    write_tiles(tmp_path, [f"a{suffix}"])
    assert names_of(list_tiles([tmp_path])) == [f"a{suffix}"]


def test_other_and_hidden_files_are_counted_and_hidden_folders_and_indexes_are_no_input(
    tmp_path: Path,
) -> None:
    write_tiles(tmp_path, ["a.png", "notes.txt", "sub/.b.png", "png", "c.png.part", ".png"])
    write_tiles(tmp_path, [".cache/d.png", "old.hx/encoder/e.png", "sub/new.hx/f.png"])
    found = list_tiles([tmp_path])
    assert (names_of(found), found.rejected, found.ignored) == (["a.png"], [], 5)


def test_several_roots_keep_equal_file_names_apart(tmp_path: Path) -> None:
    write_tiles(tmp_path, ["one/a.png", "two/a.png", "two/sub/a.png", "three/a.png"])
    found = list_tiles([tmp_path / "one", tmp_path / "two"])
    assert names_of(found) == ["one/a.png", "two/a.png", "two/sub/a.png"]
    assert found.root == tmp_path.resolve()


def test_tiles_of_overlapping_sources_count_once(tmp_path: Path) -> None:
    write_tiles(tmp_path, ["a.png", "sub/b.png", "sub/x.txt", "sub/.hidden/h.png"])
    (tmp_path / "sub" / "out.png").symlink_to("/etc/hostname")
    sources = [tmp_path, tmp_path / "sub", tmp_path / "sub" / "b.png", tmp_path]
    found = list_tiles(sources)
    assert names_of(found) == ["a.png", "sub/b.png"]
    assert rejections(found) == [("sub/out.png", LINK_OUT)]
    assert found.ignored == 1
    # A hidden folder is an input if it is named itself.
    named = list_tiles([tmp_path, tmp_path / "sub" / ".hidden"])
    assert names_of(named) == ["a.png", "sub/.hidden/h.png", "sub/b.png"]


def test_a_single_file_is_a_tile_whatever_it_is_called(tmp_path: Path) -> None:
    write_tiles(tmp_path, ["a.png", "notes.txt", "sub/.b"])
    found = list_tiles([tmp_path / "notes.txt", tmp_path / "sub" / ".b"])
    assert (names_of(found), found.ignored) == (["notes.txt", "sub/.b"], 0)
    assert found.root == tmp_path.resolve()
    alone = list_tiles([tmp_path / "a.png"])
    assert (names_of(alone), alone.root) == (["a.png"], tmp_path.resolve())
    # Named beside its folder it is no longer ignored.
    beside = list_tiles([tmp_path / "notes.txt", tmp_path])
    assert (names_of(beside), beside.ignored) == (["a.png", "notes.txt"], 1)


def test_a_source_may_be_a_link(tmp_path: Path) -> None:
    write_tiles(tmp_path / "real", ["a.png"])
    (tmp_path / "link").symlink_to("real")
    found = list_tiles([tmp_path / "link"])
    assert (names_of(found), found.root) == (["a.png"], (tmp_path / "real").resolve())


def test_a_link_inside_is_a_tile_of_its_own_and_one_out_is_rejected(tmp_path: Path) -> None:
    write_tiles(tmp_path, ["outside.png", "tiles/sub/a.png"])
    root = tmp_path / "tiles"
    (root / "inside.png").symlink_to("sub/a.png")
    (root / "out.png").symlink_to("../outside.png")
    (root / "way-out.png").symlink_to("sub/../../tiles/../outside.png")
    (root / "absolute.png").symlink_to(tmp_path / "outside.png")
    (root / "back.png").symlink_to("../tiles/sub/a.png")
    found = list_tiles([root])
    assert names_of(found) == ["back.png", "inside.png", "sub/a.png"]
    outs = ("absolute.png", "out.png", "way-out.png")
    assert rejections(found) == [(name, LINK_OUT) for name in outs]


def test_a_linked_folder_is_not_followed_and_a_loop_ends(tmp_path: Path) -> None:
    write_tiles(tmp_path, ["elsewhere/a.png", "tiles/sub/b.png"])
    root = tmp_path / "tiles"
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "sub" / "loop").symlink_to(root)
    (root / ".hidden").symlink_to(tmp_path / "elsewhere")
    found = list_tiles([root])
    assert names_of(found) == ["sub/b.png"]
    assert rejections(found) == [("linked", LINK_FOLDER), ("sub/loop", LINK_FOLDER)]


def test_a_link_to_itself_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "loop.png").symlink_to("loop.png")
    found = list_tiles([tmp_path])
    # Before Python 3.13 the loop shows here, later when the file is hashed.
    assert rejections(found) == [
        ("loop.png", "not a usable path, or a symbolic link that leads nowhere")
    ] or names_of(found) == ["loop.png"]


def test_a_name_that_is_not_utf_8_is_rejected_with_a_printable_path(tmp_path: Path) -> None:
    os.makedirs(os.fsencode(tmp_path) + b"/caf\xe9")
    for name in (b"a\xff.png", b"caf\xe9/b.png", b"caf\xe9/notes\xff.txt"):
        with open(os.fsencode(tmp_path) + b"/" + name, "wb") as file:
            file.write(b"x")
    found = list_tiles([tmp_path, tmp_path])
    reason = "the file name is not UTF-8; rename it"
    assert rejections(found) == [("a\\udcff.png", reason), ("caf\\udce9/b.png", reason)]
    assert (names_of(found), found.ignored) == ([], 1)
    alone = list_tiles([Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\xff.png"))])
    assert rejections(alone) == [("a\\udcff.png", reason)]


def test_odd_but_legal_names_are_tiles(tmp_path: Path) -> None:
    names = ["new\nline.png", "x" * 251 + ".png", "quote\"'.png", "ta\tb.png", "…é.png", " .png"]
    write_tiles(tmp_path, names)
    assert names_of(list_tiles([tmp_path])) == sorted(names)


def test_a_folder_that_cannot_be_read_is_rejected_by_name(
    open_folder: Path, drop_root: Callable[[], None]
) -> None:
    write_tiles(open_folder, ["a.png", "closed/b.png"])
    (open_folder / "closed").chmod(0)
    drop_root()
    found = list_tiles([open_folder])
    assert names_of(found) == ["a.png"]
    assert rejections(found) == [("closed", "folder cannot be read (Permission denied)")]


def test_sources_that_cannot_be_used_are_refused_by_name(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    write_tiles(tmp_path, ["a.png", "list.csv"], content="path\na.png\n")
    with pytest.raises(InputError) as caught:
        list_tiles([tmp_path, missing])
    assert str(caught.value) == f"{missing}: no such file or folder"
    with pytest.raises(InputError) as caught:
        list_tiles([])
    assert str(caught.value) == "no tiles given; pass a folder, image files or a manifest"
    for sources in ([tmp_path, tmp_path], [tmp_path / "a.png"]):
        with pytest.raises(InputError) as caught:
            list_tiles(sources, tmp_path / "list.csv")
        assert str(caught.value) == (
            f"with the manifest {tmp_path / 'list.csv'} pass at most one folder, "
            "which its paths start from"
        )


# Manifests


def write_list(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path


def test_a_manifest_keeps_its_columns_and_their_types(tmp_path: Path) -> None:
    listed = write_list(
        tmp_path / "tiles.csv",
        "label,path,case,mpp,grade\ntumour,a.png,007,0.5,1\nstroma,sub/b.png,012,0.25,\n",
    )
    found = list_tiles([listed])
    assert found.table.to_pydict() == {
        "image_id": ["a.png", "sub/b.png"],
        "path": ["a.png", "sub/b.png"],
        "label": ["tumour", "stroma"],
        "case": ["007", "012"],
        "mpp": [0.5, 0.25],
        "grade": [1, None],
    }
    kinds = [pa.string()] * 4 + [pa.float64(), pa.int64()]
    assert found.table.schema.types == kinds
    assert found.root == tmp_path.resolve()


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_every_kind_of_manifest_gives_the_same_table(tmp_path: Path, suffix: str) -> None:
    columns = {"path": ["a.png", "b.png"], "label": ["x", "y"], "count": [3, 4]}
    path = tmp_path / f"tiles{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
    else:
        mark = "," if suffix == ".csv" else "\t"
        rows = [list(columns), *zip(*columns.values(), strict=True)]
        path.write_text("\n".join(mark.join(map(str, row)) for row in rows))
    expected = pa.table({"image_id": columns["path"], **columns})
    assert list_tiles([path]).table.equals(expected)
    assert list_tiles([], path).table.equals(expected)


def test_image_ids_name_tiles_and_stay_text(tmp_path: Path) -> None:
    listed = write_list(tmp_path / "t.csv", "image_id,path\n007,a.png\n8,b.png\n")
    assert list_tiles([listed]).table.to_pydict() == {
        "image_id": ["007", "8"],
        "path": ["a.png", "b.png"],
    }
    numbers = tmp_path / "t.parquet"
    pq.write_table(pa.table({"path": ["a.png", "b.png"], "image_id": [7, 8]}), numbers)
    assert list_tiles([numbers]).table["image_id"].to_pylist() == ["7", "8"]


def test_rows_without_a_path_or_an_identity_of_their_own_are_rejected(tmp_path: Path) -> None:
    listed = write_list(
        tmp_path / "t.csv",
        "image_id,path,n\n1,a.png,1\n2,./sub/../a.png,2\n1,b.png,3\n,c.png,4\n5,,5\n6,d.png,6\n",
    )
    found = list_tiles([listed])
    assert found.table.to_pydict() == {
        "image_id": ["1", "6"],
        "path": ["a.png", "d.png"],
        "n": [1, 6],
    }
    assert found.rejected == [
        Rejection(path="./sub/../a.png", reason="listed twice in the manifest"),
        Rejection(path="b.png", reason="duplicate image_id: 1"),
        Rejection(path="c.png", reason="the manifest row has no image_id"),
        Rejection(path="", reason="the manifest row has no path"),
    ]


def test_paths_stay_under_the_root_however_they_are_written(tmp_path: Path) -> None:
    write_tiles(tmp_path, ["outside.png", "tiles/a.png", "tiles/sub/b.png", "tiles2/c.png"])
    root = tmp_path / "tiles"
    (root / "out.png").symlink_to("../outside.png")
    (root / "sub" / "up").symlink_to(tmp_path)
    rows = [
        f"{root}/a.png",
        "sub/b.png",
        "../outside.png",
        f"{tmp_path}/outside.png",
        f"{root}2/c.png",
        "out.png",
        "sub/up/outside.png",
        "sub/up/tiles/a.png",
        "missing.png",
    ]
    found = list_tiles([write_list(root / "t.csv", "path\n" + "\n".join(rows) + "\n")])
    # A file that is missing is found out when it is hashed.
    assert names_of(found) == ["a.png", "sub/b.png", "sub/up/tiles/a.png", "missing.png"]
    assert found.rejected == [
        Rejection(path="../outside.png", reason=OUTSIDE),
        Rejection(path=f"{tmp_path}/outside.png", reason=OUTSIDE),
        Rejection(path=f"{root}2/c.png", reason=OUTSIDE),
        Rejection(path="out.png", reason=LINK_OUT),
        Rejection(path="sub/up/outside.png", reason=LINK_OUT),
    ]


def test_full_paths_may_name_the_root_by_a_link(tmp_path: Path) -> None:
    write_tiles(tmp_path / "real", ["a.png", "b.png"])
    (tmp_path / "link").symlink_to("real")
    rows = f"path\n{tmp_path}/link/a.png\n{tmp_path.resolve()}/real/b.png\n"
    listed = write_list(tmp_path / "t.csv", rows)
    found = list_tiles([tmp_path / "link"], listed)
    assert (names_of(found), found.rejected) == (["a.png", "b.png"], [])


def test_a_source_folder_is_where_the_paths_of_a_manifest_start(tmp_path: Path) -> None:
    write_tiles(tmp_path / "tiles", ["a.png"])
    listed = write_list(tmp_path / "lists" / "t.csv", "path\na.png\n../tiles/a.png\n")
    beside = list_tiles([tmp_path / "tiles"], listed)
    assert (names_of(beside), beside.root) == (["a.png"], (tmp_path / "tiles").resolve())
    assert [entry.reason for entry in beside.rejected] == ["listed twice in the manifest"]
    alone = list_tiles([], listed)
    assert (names_of(alone), alone.root) == (["a.png"], (tmp_path / "lists").resolve())
    assert [entry.reason for entry in alone.rejected] == [OUTSIDE]


def test_a_zero_byte_in_a_path_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"path": ["a\x00b.png", "c.png", None]}), path)
    found = list_tiles([path])
    assert names_of(found) == ["c.png"]
    assert [entry.reason for entry in found.rejected] == [
        "not a usable path, or a symbolic link that leads nowhere",
        "the manifest row has no path",
    ]


def test_a_manifest_without_paths_or_with_our_own_columns_is_refused(tmp_path: Path) -> None:
    listed = write_list(tmp_path / "t.csv", "file,label\na.png,x\n")
    with pytest.raises(InputError) as caught:
        list_tiles([listed])
    assert str(caught.value) == f"{listed}: no column `path`; found file, label"
    for name in ("sha256", "width", "height", "note", "embedding", "stem"):
        write_list(listed, f"path,{name}\na.png,x\n")
        with pytest.raises(InputError) as caught:
            list_tiles([listed])
        assert str(caught.value) == (
            f"{listed}: column `{name}` is written by the index; rename it"
        )


def test_a_manifest_with_nothing_but_a_header_lists_nothing(tmp_path: Path) -> None:
    found = list_tiles([write_list(tmp_path / "t.csv", "path,label\n")])
    assert (found.table.num_rows, found.rejected, found.ignored) == (0, [], 0)
    assert found.table.column_names == ["image_id", "path", "label"]
