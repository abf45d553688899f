"""What a user's table means: names stay text, numbers become numbers where that loses nothing."""

import datetime
import decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from histo_index.errors import InputError
from histo_index.indexer.inputs.tables import read_table


def read_text(tmp_path: Path, text: str | bytes, suffix: str = ".csv") -> pa.Table:
    path = tmp_path / f"table{suffix}"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_table(path)


def read_column(tmp_path: Path, values: list[str]) -> tuple[pa.DataType, list[Any]]:
    column = read_text(tmp_path, "path,x\n" + "".join(f"p,{value}\n" for value in values))["x"]
    return column.type, column.to_pylist()


@pytest.mark.parametrize(
    ("values", "numbers"),
    [
        (["1", "-20", "0", "9223372036854775807"], [1, -20, 0, 2**63 - 1]),
        (["1", "", "3"], [1, None, 3]),
        (["0.5", "2", "-0.25"], [0.5, 2.0, -0.25]),
        (["0.50", ""], [0.5, None]),
        (["123456789.012345"], [123456789.012345]),
    ],
)
def test_a_column_of_numbers_becomes_numeric(
    tmp_path: Path, values: list[str], numbers: list[float | None]
) -> None:
    kind, found = read_column(tmp_path, values)
    assert found == numbers
    assert kind == (pa.int64() if all(isinstance(n, int | None) for n in numbers) else pa.float64())


@pytest.mark.parametrize(
    "values",
    [
        ["007", "8"],
        ["+5"],
        ["-0"],
        ["00.5"],
        ["1.", "2"],
        [".5"],
        ["1e5", "2"],
        ["nan", "1"],
        ["inf"],
        ["0x10"],
        [" 1"],
        ["1 000"],
        ["1_000"],
        ["tumour", "1"],
        ["2024-01-31"],
        ["1.2.840.10008"],
        # More digits than a float64 keeps: an accession number, not a quantity.
        ["12345678901234567890"],
        ["0.1234567890123456"],
        ["", ""],
        ["true", "false"],
    ],
)
def test_values_that_a_number_would_change_stay_text(tmp_path: Path, values: list[str]) -> None:
    assert read_column(tmp_path, values) == (pa.string(), values)


def test_path_and_image_id_stay_text(tmp_path: Path) -> None:
    table = read_text(tmp_path, "path,image_id,n\n1,2,3\n")
    assert table.to_pydict() == {"path": ["1"], "image_id": ["2"], "n": [3]}


@pytest.mark.parametrize(
    "text",
    [
        "path,label\na.png,x\nb.png,y\n",
        "\ufeffpath,label\na.png,x\nb.png,y\n",
        "path,label\r\na.png,x\r\nb.png,y\r\n",
        "path,label\na.png,x\nb.png,y",
        '"path","label"\n"a.png","x"\n"b.png","y"\n',
        "path,label\na.png,x\n\nb.png,y\n\n",
    ],
    ids=["plain", "BOM", "CRLF", "no last line end", "quoted", "empty lines"],
)
def test_the_same_table_is_read_however_it_was_saved(tmp_path: Path, text: str) -> None:
    assert read_text(tmp_path, text).to_pydict() == {
        "path": ["a.png", "b.png"],
        "label": ["x", "y"],
    }


def test_quoted_commas_quotes_and_line_ends_are_part_of_a_value(tmp_path: Path) -> None:
    text = 'path,"a, ""b""\nc"\n"x,1.png","two\nlines, ""quoted"""\n"007.png",1\n'
    assert read_text(tmp_path, text).to_pydict() == {
        "path": ["x,1.png", "007.png"],
        'a, "b"\nc': ['two\nlines, "quoted"', "1"],
    }


def test_a_column_without_a_name_is_kept(tmp_path: Path) -> None:
    # As pandas writes its row numbers.
    table = read_text(tmp_path, ",path\n0,a.png\n1,b.png\n")
    assert table.to_pydict() == {"": [0, 1], "path": ["a.png", "b.png"]}


def test_tabs_part_a_tsv_and_commas_do_not(tmp_path: Path) -> None:
    table = read_text(tmp_path, "path\tlabel\na,1.png\tx\n", ".tsv")
    assert table.to_pydict() == {"path": ["a,1.png"], "label": ["x"]}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "the first line, which names the columns, is empty"),
        (b"\npath\na.png\n", "the first line, which names the columns, is empty"),
        (b"path,x,x\na,1,2\n", "column 'x' is there twice"),
        (b"path,label\na.png\n", "CSV parse error: Row #2: Expected 2 columns, got 1)"),
        (b"path\na.png,x\n", "CSV parse error: Row #2: Expected 1 columns, got 2)"),
    ],
)
def test_a_broken_table_is_refused_in_one_line_with_its_name(
    tmp_path: Path, text: bytes, reason: str
) -> None:
    with pytest.raises(InputError) as caught:
        read_text(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'table.csv'}: not a usable csv table (")
    assert reason in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b"path,label\na.png,caf\xe9\n", 2),
        (b"path,label\n" + b"a.png,x\n" * 2000 + b"a.png,caf\xe9\n", 2002),
        (b"path,caf\xe9\na.png,x\n", 1),
        (b"path,label\na.png,x\n\x00\xff\x00", 3),
    ],
)
def test_a_table_in_another_encoding_is_refused_by_its_line(
    tmp_path: Path, text: bytes, line: int
) -> None:
    with pytest.raises(InputError, match=f"table.csv: line {line} is not UTF-8; save the file as"):
        read_text(tmp_path, text)


def test_a_file_that_is_missing_or_of_no_known_kind_is_refused(tmp_path: Path) -> None:
    missing = tmp_path / "no.csv"
    with pytest.raises(InputError) as caught:
        read_table(missing)
    assert str(caught.value) == f"{missing}: cannot be read (No such file or directory)"
    other = tmp_path / "table.xlsx"
    with pytest.raises(InputError) as caught:
        read_table(other)
    assert str(caught.value) == f"{other}: unknown kind of table; pass .csv, .tsv or .parquet"


def test_parquet_keeps_its_types_and_texts_become_plain_texts(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    day = datetime.date(2024, 1, 31)
    columns = {
        "path": pa.array(["a.png", "b.png"], pa.large_string()),
        "label": pa.array(["x", "y"]).dictionary_encode(),
        "nothing": pa.nulls(2),
        "count": pa.array([1, None], pa.int16()),
        "half": pa.array(np.array([0.5, 1.5], np.float16)),
        "is_good": pa.array([True, False]),
        "day": pa.array([day, None]),
        "price": pa.array([decimal.Decimal("1.50"), None]),
    }
    pq.write_table(pa.table(columns), path)
    table = read_table(path)
    assert dict(zip(table.column_names, map(str, table.schema.types), strict=True)) == {
        "path": "string",
        "label": "string",
        "nothing": "string",
        "count": "int16",
        "half": "float",
        "is_good": "bool",
        "day": "date32[day]",
        "price": "decimal128(3, 2)",
    }
    assert table.to_pydict() == {
        "path": ["a.png", "b.png"],
        "label": ["x", "y"],
        "nothing": [None, None],
        "count": [1, None],
        "half": [0.5, 1.5],
        "is_good": [True, False],
        "day": [day, None],
        "price": [decimal.Decimal("1.50"), None],
    }


@pytest.mark.parametrize(
    "values", [[["x"]], [{"a": 1}], [b"\xff"], [datetime.timedelta(seconds=1)]]
)
def test_parquet_columns_that_are_no_plain_values_are_refused(
    tmp_path: Path, values: list[Any]
) -> None:
    path = tmp_path / "t.parquet"
    column = pa.array(values)
    pq.write_table(pa.table({"path": ["a.png"], "odd": column}), path)
    with pytest.raises(InputError) as caught:
        read_table(path)
    kind = pq.read_schema(path).field("odd").type
    assert str(caught.value) == (
        f"{path}: not a usable parquet table (column 'odd' is {kind}; pass plain values)"
    )


def test_parquet_with_two_columns_of_a_name_or_no_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table([["a.png"], ["b.png"]], names=["path", "path"]), path)
    with pytest.raises(InputError, match=r"\(column 'path' is there twice\)$"):
        read_table(path)
    path.write_text("path\na.png\n")
    with pytest.raises(InputError, match=r"t\.parquet: not a usable parquet table \("):
        read_table(path)
