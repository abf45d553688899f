"""Every form of a pair list, and every way in which one can be broken."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from histo_index.errors import InputError
from histo_index.indexer.inputs.tables import read_table
from histo_index.search.inputs.pair_list import PairList, list_pairs, read_pair_list


def read(tmp_path: Path, text: str | bytes, name: str = "pairs.csv") -> PairList:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_pair_list(path)


def pairs_of(listed: PairList) -> list[tuple[str, str]]:
    return list(zip(listed.image_a.to_pylist(), listed.image_b.to_pylist(), strict=True))


@pytest.mark.parametrize("reads", [read_pair_list, read_table])
def test_text_is_read_without_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: Callable[[Path], object]
) -> None:
    # One that ends later than Python aborts the process now and then: too seldom to be waited for.
    asked = []
    read_csv = pa_csv.read_csv

    def spy(source: BinaryIO, **options: Any) -> pa.Table:
        asked.append(options["read_options"].use_threads)
        return read_csv(source, **options)

    monkeypatch.setattr(pa_csv, "read_csv", spy)
    (tmp_path / "pairs.csv").write_text("image_a,image_b\na,b\n")
    reads(tmp_path / "pairs.csv")
    assert asked == [False]


def test_headerless_pairs(tmp_path: Path) -> None:
    listed = read(tmp_path, "a.png,b.png\nc.png,a.png\n")
    assert pairs_of(listed) == [("a.png", "b.png"), ("c.png", "a.png")]
    assert listed.labels is None
    assert listed.queries is None
    assert listed.problems == {}


def test_headerless_pairs_with_labels(tmp_path: Path) -> None:
    listed = read(tmp_path, "a,b,1\na,c,0\nb,c,\n")
    assert listed.labels is not None
    assert listed.labels.to_pylist() == [1, 0, None]


def test_headed_pairs_in_any_order_with_other_columns(tmp_path: Path) -> None:
    listed = read(tmp_path, "site,Label,image_b,IMAGE_A\nX,same,b,a\nY,different,d,c\n")
    assert pairs_of(listed) == [("a", "b"), ("c", "d")]
    assert listed.labels is not None
    assert listed.labels.to_pylist() == [1, 0]


def test_the_reference_form(tmp_path: Path) -> None:
    text = "query,prediction\n0a1b2c3d4e5f_f5e4d3c2b1a0,1\n111111111111_222222222222,0\n"
    listed = read(tmp_path, text)
    assert pairs_of(listed) == [
        ("0a1b2c3d4e5f", "f5e4d3c2b1a0"),
        ("111111111111", "222222222222"),
    ]
    assert listed.queries is not None
    assert listed.queries.to_pylist()[0] == "0a1b2c3d4e5f_f5e4d3c2b1a0"
    assert listed.labels is not None
    assert listed.labels.to_pylist() == [1, 0]


def test_the_reference_form_without_labels(tmp_path: Path) -> None:
    listed = read(tmp_path, "query\na_b\n")
    assert pairs_of(listed) == [("a", "b")]
    assert listed.labels is None


def test_ids_with_underscores_are_split_where_both_halves_are_known(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("query\ns_1_s_2\ns_1_s_9\n_\nplain\n")
    known = {"s_1", "s_2"}
    listed = read_pair_list(path, [lambda names: [name in known for name in names]])
    assert pairs_of(listed) == [("s_1", "s_2"), ("", ""), ("", ""), ("", "")]
    assert listed.problems == {
        1: "'s_1_s_9' does not split into two known ids in just one way",
        2: "'_' does not split into two known ids in just one way",
        3: "'plain' does not split into two known ids in just one way",
    }


def test_a_query_that_splits_twice_is_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("query\na_b_c\n")
    listed = read_pair_list(path, [lambda names: [True] * len(names)])
    assert listed.problems == {0: "'a_b_c' does not split into two known ids in just one way"}


def test_files_are_read_only_for_names_not_in_the_index(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("query\ns_1_s_2\nnew_1_s_2\n")
    asked: list[str] = []

    def are_files(names: Sequence[str]) -> list[bool]:
        asked.extend(names)
        return [name in ("new_1", "s_2") for name in names]

    listed = read_pair_list(path, [lambda names: [n in ("s_1", "s_2") for n in names], are_files])
    assert pairs_of(listed) == [("s_1", "s_2"), ("new_1", "s_2")]
    assert sorted(asked) == ["1_s_2", "2", "new", "new_1", "new_1_s", "s_2"]


def test_queries_without_a_header_or_with_a_label_column(tmp_path: Path) -> None:
    for text in ("a_b,1\nc_d,0\n", "query,label\na_b,1\nc_d,0\n"):
        listed = read(tmp_path, text)
        assert pairs_of(listed) == [("a", "b"), ("c", "d")]
        assert listed.labels is not None
        assert listed.labels.to_pylist() == [1, 0]
    assert pairs_of(read(tmp_path, "a_b\nc_d\n")) == [("a", "b"), ("c", "d")]


def test_blank_lines_before_the_header_are_no_rows(tmp_path: Path) -> None:
    assert pairs_of(read(tmp_path, "\n \r\nimage_a,image_b\na,b\n")) == [("a", "b")]


def test_pairs_from_python(tmp_path: Path) -> None:
    listed = list_pairs([("a", "b", 1), (Path("c"), "d"), ("", None)])
    assert pairs_of(listed) == [("a", "b"), ("c", "d"), ("", "")]
    assert listed.labels is not None
    assert listed.labels.to_pylist() == [1, None, None]
    assert listed.problems == {2: "an image name is missing"}
    assert len(list_pairs([])) == 0
    with pytest.raises(InputError, match="pair 1 has 1 value; "):
        list_pairs([("a", "b"), ("c",)])


def test_tsv_parquet_and_standard_input_are_read_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [("a, 1.png", "b.png")]
    assert pairs_of(read(tmp_path, "a, 1.png\tb.png\n", "pairs.tsv")) == expected
    table = pa.table({"image_a": ["a, 1.png"], "image_b": ["b.png"], "label": [1]})
    pq.write_table(table, tmp_path / "pairs.parquet")
    listed = read_pair_list(tmp_path / "pairs.parquet")
    assert pairs_of(listed) == expected
    assert listed.labels is not None
    assert listed.labels.to_pylist() == [1]
    stdin = io.TextIOWrapper(io.BytesIO(b'"a, 1.png",b.png\n'))
    monkeypatch.setattr("sys.stdin", stdin)
    assert pairs_of(read_pair_list(None)) == expected


def test_bom_crlf_blank_lines_quotes_and_spaces(tmp_path: Path) -> None:
    text = b'\xef\xbb\xbfimage_a,image_b\r\n a.png , b.png\r\n\r\n"c,d.png","e ""f"".png"\r\n'
    assert pairs_of(read(tmp_path, text)) == [("a.png", "b.png"), ("c,d.png", 'e "f".png')]


def test_names_that_look_like_nothing_stay_names(tmp_path: Path) -> None:
    assert pairs_of(read(tmp_path, "null,NA\n007,1e5\n")) == [("null", "NA"), ("007", "1e5")]


def test_ragged_rows_keep_their_line(tmp_path: Path) -> None:
    listed = read(tmp_path, "image_a,image_b\na,b\nc\nd,e,f\ng,h\n")
    assert pairs_of(listed) == [("a", "b"), ("c", ""), ("d", "e"), ("g", "h")]
    assert listed.problems == {1: "1 column, expected 2", 2: "3 columns, expected 2"}


def test_fast_and_plain_readers_agree(tmp_path: Path) -> None:
    rows = [f"slide_{i % 7}/tile {i}.png,x{i * 3}.png,{i % 2}" for i in range(500)]
    fast = read(tmp_path, "\n".join(rows))
    plain = read(tmp_path, "\n".join([*rows, "one,too,many,cells"]))
    assert pairs_of(plain)[:-1] == pairs_of(fast)
    assert fast.labels is not None
    assert plain.labels is not None
    assert plain.labels.to_pylist()[:-1] == fast.labels.to_pylist()


def test_odd_labels_and_missing_names_are_named(tmp_path: Path) -> None:
    listed = read(tmp_path, "image_a,image_b,label\na,b,maybe\n,b,1\na,,0\n")
    assert listed.problems == {
        0: "label 'maybe' is neither 0 nor 1",
        1: "an image name is missing",
        2: "an image name is missing",
    }


@pytest.mark.parametrize("text", ["left,right,truth\na,b,1\n", "left,right,truth\na,b,1\nc\n"])
def test_an_unknown_header_is_reported_at_its_row(tmp_path: Path, text: str) -> None:
    listed = read(tmp_path, text)
    assert listed.problems[0] == (
        "unknown header, or label 'truth' that is neither 0 nor 1; "
        "a header is `image_a,image_b[,label]` or `query[,prediction]`"
    )
    assert listed.image_a.to_pylist()[:2] == ["left", "a"]


@pytest.mark.parametrize("text", ["left,right\na,b\n", "left,right,1\na,b,1\n"])
def test_a_first_row_without_a_documented_header_is_a_pair(tmp_path: Path, text: str) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text(text)
    listed = read_pair_list(path, [lambda names: [name in "ab" for name in names]])
    assert listed.problems == {}
    assert pairs_of(listed) == [("left", "right"), ("a", "b")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "0 columns and no header"),
        (b"\n\n", "0 columns and no header"),
        (b"image_a,image_b\n", "no pairs in it"),
        (b"just one column\n", "1 column and no header"),
        (b"a,b,c,d\n", "4 columns and no header"),
        (b"image_a,image_b,image_a\nx,y,z\n", "there twice"),
        (b"a.png,b.png\n\xff\xfe,c\n", "line 2 is not UTF-8"),
    ],
)
def test_other_file_than_a_pair_list_is_refused_in_one_line(
    tmp_path: Path, text: bytes, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(str(tmp_path / "pairs.csv"))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_damaged_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_pair_list(tmp_path / "none.csv")
    with pytest.raises(InputError, match="not a usable parquet table"):
        read(tmp_path, b"PAR1 this is not", "pairs.parquet")


def test_parquet_without_the_columns_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"left": ["a"], "right": ["b"]}), tmp_path / "pairs.parquet")
    with pytest.raises(InputError, match="found left, right"):
        read_pair_list(tmp_path / "pairs.parquet")
