"""Tables as spreadsheets and Windows write them are read, or refused with the remedy."""

from pathlib import Path

import pyarrow as pa
import pytest

from histo_index.errors import InputError
from histo_index.indexer.inputs.tables import read_table
from histo_index.indexer.inputs.tiles import list_tiles
from histo_index.indexer.reader import OpenIndex
from histo_index.search.inputs.labels import read_labels
from histo_index.search.inputs.pair_list import read_pair_list
from tests.vectors import build_numbered, unit_vectors


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_every_delimiter_is_read(tmp_path: Path, mark: str) -> None:
    file = tmp_path / "list.csv"
    file.write_text(f"Path{mark}site{mark}n\r\na.png{mark}A{mark}1\r\n", newline="")
    assert read_table(file).to_pylist() == [{"path": "a.png", "site": "A", "n": 1}]


def test_a_line_with_commas_has_commas(tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_text("path,a;b\nx;y.png,1\n")
    assert read_table(file).to_pylist() == [{"path": "x;y.png", "a;b": 1}]


def test_windows_paths_name_the_same_files(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "a.png").write_text("x")
    file = tmp_path / "list.csv"
    file.write_text("path\ns\\a.png\n")
    assert list_tiles([], file).table["path"].to_pylist() == ["s/a.png"]


def test_labels_and_pairs_are_read_as_well(tmp_path: Path) -> None:
    names = ["s/a.png", "s/b.png"]
    path, _ = build_numbered(tmp_path, unit_vectors(2, 8), names)
    index = OpenIndex(path)
    file = tmp_path / "labels.csv"
    file.write_text("Path;Label\ns\\a.png;x\ns\\b.png;y\n")
    assert read_labels(index, file).labels == ["x", "y"]
    file.write_text("image_a;image_b;label\ns/a.png;s/b.png;1\n")
    found = read_pair_list(file)
    assert found.problems == {}
    assert (found.image_a[0].as_py(), found.image_b[0].as_py()) == ("s/a.png", "s/b.png")
    assert index.find_names(pa.array(["s\\b.png", "t\\b.png"])).tolist()[0] == 1


def test_another_encoding_is_refused_with_the_remedy(tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_bytes("path,ort\na.png,Zürich\n".encode("cp1252"))
    with pytest.raises(InputError) as caught:
        read_table(file)
    assert str(caught.value) == (
        f"{file}: line 2 is not UTF-8; save the file as UTF-8, in Excel as `CSV UTF-8`"
    )
