"""Pairs from a DataFrame or an Arrow table are read as those of a file."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from histo_index.errors import InputError
from histo_index.search.inputs.pair_list import list_pairs, read_pairs

COLUMNS: dict[str, list[Any]] = {
    "site": [1, 2, 3],
    "Image_B": ["b", "d", "f"],
    "image_a": ["a", "c", None],
    "label": [1.0, np.nan, 0.0],
}


@pytest.mark.parametrize("table", [pd.DataFrame(COLUMNS), pa.table(COLUMNS)])
def test_columns_are_found_by_name(table: Any) -> None:
    found = read_pairs(table)
    assert found.image_a.to_pylist() == ["a", "c", ""]
    assert found.image_b.to_pylist() == ["b", "d", "f"]
    assert found.labels is not None
    assert found.labels.to_pylist() == [1, None, 0]
    assert found.problems == {2: "an image name is missing"}


def test_nullable_and_boolean_labels_are_labels() -> None:
    table = pd.DataFrame({"image_a": ["a", "c"], "image_b": ["b", "d"]})
    for labels in (
        pd.array([1, None], dtype="Int64"),
        pd.Series([True, None], dtype=object),
        pd.Series(["same", None]),
    ):
        found = read_pairs(table.assign(label=labels))
        assert found.labels is not None
        assert found.labels.to_pylist() == [1, None]
        assert found.problems == {}


def test_the_form_of_the_reference_method_is_known() -> None:
    table = pd.DataFrame({"query": ["a_1_b"], "prediction": [0]})
    found = read_pairs(table, [lambda names: [name in ("a_1", "b") for name in names]])
    assert (found.image_a[0].as_py(), found.image_b[0].as_py()) == ("a_1", "b")
    assert found.queries is not None
    assert found.queries.to_pylist() == ["a_1_b"]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"a": ["x"], "b": ["y"]}, "no columns image_a and image_b, nor query; found a, b"),
        ({"image_a": [], "image_b": []}, "no pairs in it; expected rows `a.png,b.png`"),
    ],
)
def test_other_tables_are_refused(table: dict[str, list[str]], words: str) -> None:
    with pytest.raises(InputError) as caught:
        read_pairs(pd.DataFrame(table))
    assert str(caught.value) == f"the table of pairs: {words}"


def test_rows_and_lists_are_not_changed() -> None:
    rows = [["a", "b", 1], ["c", "d", 0]]
    listed = list_pairs(rows)
    assert read_pairs(listed) is listed
    assert read_pairs(np.array([["a", "b"]])).image_b.to_pylist() == ["b"]
    assert read_pairs(iter(rows)).image_a.to_pylist() == ["a", "c"]
