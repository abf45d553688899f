"""Features of a teacher are found by image id or path, in a table or an index, or refused."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import histo_index
from histo_index.api.distillation.teacher import read_teacher
from histo_index.errors import InputError

TILES = pa.table({"image_id": ["a", "b", "c"], "path": ["x/a.png", "x/b.png", "x/c.png"]})


def write(file: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), file)
    return file


def vectors(*rows: list[float]) -> pa.Array:
    return pa.array(rows, pa.list_(pa.float32()))


def test_a_table_gives_all_its_columns_in_the_order_of_the_tiles(tmp_path: Path) -> None:
    source = write(
        tmp_path / "t.parquet",
        path=["x/c.png", "other.png", "x/a.png"],
        organ=["lung", "lung", "colon"],
        small=vectors([1, 2], [3, 4], [5, 6]),
        large=pa.FixedSizeListArray.from_arrays(pa.array(np.arange(9, dtype=np.float16)), 3),
    )
    found = read_teacher(source, (), TILES)
    assert (found.name, found.known, list(found.columns)) == ("t.parquet", 2, ["small", "large"])
    np.testing.assert_array_equal(found.columns["small"], [[5, 6], [np.nan] * 2, [1, 2]])
    np.testing.assert_array_equal(found.columns["large"], [[6, 7, 8], [np.nan] * 3, [0, 1, 2]])
    chosen = read_teacher(source, ("large",), TILES)
    assert list(chosen.columns) == ["large"]


def test_image_ids_come_before_paths(tmp_path: Path) -> None:
    source = write(
        tmp_path / "t.parquet", image_id=["b", "?"], path=["?", "x/a.png"], v=vectors([1], [2])
    )
    found = read_teacher(source, (), TILES)
    np.testing.assert_array_equal(found.columns["v"], [[2], [1], [np.nan]])


def test_an_index_gives_its_embeddings(tmp_path: Path) -> None:
    rows = np.eye(3, 8, dtype=np.float32)
    histo_index.from_embeddings(["c", "a", "z"], rows, tmp_path / "i.hx", encoder="any").close()
    found = read_teacher(tmp_path / "i.hx", (), TILES)
    np.testing.assert_allclose(found.columns["embedding"][[2, 0]], rows[:2], atol=1e-3)
    assert np.isnan(found.columns["embedding"][1]).all()


@pytest.mark.parametrize(
    ("columns", "wanted", "message"),
    [
        ({"v": vectors([1])}, (), "has no image_id or path to learn from"),
        ({"path": ["x/a.png"]}, (), "its vectors are none"),
        ({"path": ["x/a.png"], "v": vectors([1])}, ("w",), r"has no w .* its vectors are v"),
        (
            {"path": ["a.png"], "v": vectors([1])},
            (),
            r"has none of 3 tiles .* it has a.png, .* x/a",
        ),
        (
            {"path": ["x/a.png"], "v": vectors([float("nan")])},
            (),
            "v has a value that is no number",
        ),
        ({"path": ["x/a.png", "b"], "v": vectors([1], [1, 2])}, (), "not all of one length"),
    ],
)
def test_what_cannot_teach_is_refused_in_one_line(
    tmp_path: Path, columns: dict[str, object], wanted: tuple[str, ...], message: str
) -> None:
    source = write(tmp_path / "t.parquet", **columns)
    with pytest.raises(InputError, match=message) as caught:
        read_teacher(source, wanted, TILES)
    assert str(source) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"t\.parquet: not a readable Parquet table"):
        read_teacher(tmp_path / "t.parquet", (), TILES)
    with pytest.raises(InputError, match=r"none\.parquet: not a readable Parquet table"):
        read_teacher(tmp_path / "none.parquet", (), TILES)
