"""Rows that hold a text, found by the bytes of a column."""

from typing import Final

import numpy as np
import pyarrow as pa
import pytest

from histo_index.indexer.format.lookup import FEW, MISSING, look_up, rows_of

TEXTS: Final = ["a.png", None, "aa.png", "", "a.png", "b.png", "é.png", "a.png"]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
@pytest.mark.parametrize(
    ("text", "rows"),
    [("a.png", [0, 4, 7]), ("é.png", [6]), ("png", []), ("a.pn", []), ("", [])],
)
def test_all_rows_of_a_text_are_found(kind: pa.DataType, text: str, rows: list[int]) -> None:
    before = pa.array(["a.png", *TEXTS[:3]], kind).slice(1)
    column = pa.chunked_array([before, pa.array([], kind), pa.array(TEXTS[3:], kind)])
    np.testing.assert_array_equal(rows_of(text, column), rows)


def test_few_values_have_the_rows_that_many_have() -> None:
    column = pa.chunked_array([pa.array(TEXTS[:5]), pa.array(TEXTS[5:])])
    few = pa.array(["b.png", "nothing", "a.png", None])
    expected = [5, MISSING, 0, MISSING]
    np.testing.assert_array_equal(look_up(few, column), expected)
    many = pa.array(["b.png", "nothing", "a.png"] * FEW)
    np.testing.assert_array_equal(look_up(many, column), expected[:3] * FEW)
