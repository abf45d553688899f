"""Label files: what can be used is found, what cannot is named by its line, the rest is refused."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from histo_index.errors import InputError
from histo_index.indexer.reader import OpenIndex
from histo_index.search.answers.removal import RemoveConfig, remove
from histo_index.search.calibration.otsu import guess
from histo_index.search.inputs.labels import has_own_groups, own_groups, read_labels
from tests.search.classes import Classes
from tests.vectors import build_numbered, unit_vectors


def write(folder: Path, text: str, *, name: str = "labels.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_the_index_s_own_columns_need_no_file(classes: Classes) -> None:
    found = read_labels(classes.index, group="patient")
    assert found.labels == classes.labels
    assert found.groups == classes.groups
    assert found.rows.tolist() == list(range(len(classes.labels)))
    assert (found.source, found.group_from) == (
        "column label of the index",
        "column patient of the index",
    )


def test_without_groups_every_tile_is_its_own(classes: Classes) -> None:
    found = read_labels(classes.index)
    assert found.groups == classes.names
    assert not found.has_groups


@pytest.mark.parametrize("name", ["l.csv", "l.tsv", "l.parquet"])
def test_a_file_names_tiles_by_path_id_or_file_name(
    classes: Classes, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    rows = {"image": ["t02.png", "t01"], "tissue": ["stroma", "gland"], "site": ["x", ""]}
    if name.endswith("parquet"):
        pq.write_table(pa.table(rows), path)
    else:
        mark = "\t" if name.endswith("tsv") else ","
        lines = [list(rows), *zip(*rows.values(), strict=True)]
        path.write_text("\n".join(mark.join(line) for line in lines))
    found = read_labels(classes.index, path, label="tissue", group="site")
    assert (found.rows.tolist(), found.labels) == ([2, 1], ["stroma", "gland"])
    # A tile without a group is a group by itself.
    assert found.groups == ["x", "t01.png"]


def test_rows_that_cannot_be_used_are_named_by_their_line(classes: Classes, tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "path,label\nt00.png,fat\nnone.png,fat\nt01.png,NaN\n\nt02.png,gland,x\n,fat\n"
        "t03.png,gland\nt00.png,gland\nt03.png,gland\n",
    )
    found = read_labels(classes.index, path)
    assert (found.rows.tolist(), found.labels) == ([0, 3], ["fat", "gland"])
    assert found.problems == [
        "labels.csv line 6: 3 columns, expected 2",
        "labels.csv line 3: none.png is not in the index",
        "labels.csv line 4: no class, but NaN",
        "labels.csv line 7: no tile named",
        "labels.csv line 9: t00.png is gland here and fat at labels.csv line 2",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty; expected a header `path,label` and a row a tile"),
        ("path,label\n", "no rows below the header"),
        ("path,tissue\nt00.png,fat\n", "no column label; found path, tissue"),
        ("tile,label\nt00.png,fat\n", "no column path, image_id or image; found tile, label"),
        ("path,label,label\nt00.png,a,b\n", "column label is there twice; rename one"),
        ("path,label\nx.png,fat\n", "not one tile with a class; the first: labels.csv line 2"),
        ("path,label\nt00.png,fat\nt01.png,fat\n", "class fat only, of 2 usable tiles; expected"),
        ("path,label\nt00.png,fat\n", "class fat only, of 1 usable tile; expected two classes"),
        (
            "path,label\nt00.png,fat\nt01.png,NaN\n",
            "two classes or more; the first that is not usable: labels.csv line 3: no class",
        ),
        ("path,label\nt00.png,nan\n", "not one tile with a class"),
    ],
)
def test_file_without_a_usable_row_is_refused(
    classes: Classes, tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        read_labels(classes.index, write(tmp_path, text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_encoding_is_named_with_its_line(classes: Classes, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes("path,label\nt00.png,Drüse\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"line 2 is not UTF-8; save the file as UTF-8"):
        read_labels(classes.index, path)


def test_missing_columns_are_reported_with_those_found(classes: Classes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no column tissue in the index; found image_id, path,"):
        read_labels(classes.index, "tissue")
    with pytest.raises(InputError, match=r"no column site in the index; pass"):
        read_labels(classes.index, group="site")
    with pytest.raises(InputError, match=r"none\.csv: cannot be read"):
        read_labels(classes.index, tmp_path / "none.csv")


def test_groups_of_some_tiles_come_from_the_index(classes: Classes) -> None:
    rows = read_labels(classes.index).rows[:2]
    assert own_groups(classes.index, rows, "patient") == ["patient-0", "patient-1"]
    assert own_groups(classes.index, rows) == ["t00.png", "t01.png"]


def test_removed_tiles_have_no_label_and_no_threshold_is_guessed_on_them(classes: Classes) -> None:
    gone = [
        name
        for name, label in zip(classes.names, classes.labels, strict=True)
        if label == classes.labels[0]
    ]
    remove(classes.index, RemoveConfig(names=gone))
    index = OpenIndex(classes.index.folder)
    found = read_labels(index, group="patient")
    assert len(found.labels) == len(classes.names) - len(gone) == 64
    assert not set(gone) & set(index.rows["image_id"].take(pa.array(found.rows)).to_pylist())
    assert guess(index, group="patient").tiles == 64


def test_tiles_of_several_slides_are_grouped_by_slide_unless_they_have_groups(
    tmp_path: Path,
) -> None:
    names = [f"t{tile}.png" for tile in range(4)]
    labels, slides, patients = ["a", "b"] * 2, ["s1", "s1", "s2", "s2"], ["p1", "p2", "p1", "p2"]

    def groups(name: str, columns: str, *values: list[str]) -> tuple[list[str], str | None, bool]:
        rows = ["," + ",".join(row) for row in zip(labels, *values, strict=True)]
        vectors = unit_vectors(4, 8, seed=0)
        path, _ = build_numbered(
            tmp_path / name, vectors, names, columns=f",label{columns}", rows=rows
        )
        opened = OpenIndex(path)
        found = read_labels(opened)
        assert own_groups(opened, opened.live_rows()) == found.groups
        assert has_own_groups(opened) == found.has_groups
        return found.groups, found.group_column, found.has_groups

    assert groups("slides", ",slide_id", slides) == (slides, "slide_id", True)
    assert groups("patients", ",slide_id,group", slides, patients) == (patients, "group", True)
    # Of one slide, no two tiles could be compared.
    assert groups("one", ",slide_id", ["s1"] * 4) == (names, None, False)
