"""What is written can be read back, value by value, and is whole or not there."""

import csv
import datetime
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from histo_index.commands import result_files
from histo_index.errors import InputError
from histo_index.search.answers.pair_list import PairScores, score_pairs
from histo_index.search.calibration.threshold import Threshold
from histo_index.search.inputs.pair_list import PairList, read_pair_list
from tests.search.conftest import Numbers


@pytest.fixture
def scores(numbers: Numbers) -> PairScores:
    listed = PairList(
        image_a=pa.array(["d.png", 'odd, "name"', "s1/a.png"]),
        image_b=pa.array(["d", "d", "gone"]),
    )
    return score_pairs(numbers.index, listed, numbers.resolver, Threshold(value=1.0, origin="test"))


def test_csv_has_quotes_only_where_needed(scores: PairScores, tmp_path: Path) -> None:
    result_files.write_scores(scores, tmp_path / "out.csv", form="table")
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[0] == "image_a,image_b,distance,threshold,verdict,status,message"
    assert lines[1] == "d.png,d,0,1,same,ok,"
    rows = list(csv.reader(lines))
    assert rows[2][0] == 'odd, "name"'
    assert rows[3][:2] == ["s1/a.png", "gone"]
    assert rows[3][5] == "error"


def test_every_form_holds_the_same_rows(scores: PairScores, tmp_path: Path) -> None:
    for suffix in (".csv", ".tsv", ".parquet", ".jsonl"):
        result_files.write_scores(scores, tmp_path / f"out{suffix}", form="table")
    expected = scores.table.to_pylist()
    assert pq.read_table(tmp_path / "out.parquet").to_pylist() == expected
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == expected
    with open(tmp_path / "out.tsv", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["message"] for row in rows] == [row["message"] for row in expected]


def test_the_answer_file_is_exactly_the_reference_form(numbers: Numbers, tmp_path: Path) -> None:
    source = tmp_path / "queries.csv"
    source.write_text("query,prediction\nd_d,1\nd_new,0\nd_gone,1\n")
    listed = read_pair_list(source, [numbers.resolver.are_indexed])
    result = score_pairs(
        numbers.index, listed, numbers.resolver, Threshold(value=0.001, origin="test")
    )
    result_files.write_scores(result, tmp_path / "out.csv", form="query-prediction")
    assert (tmp_path / "out.csv").read_text() == "query,prediction\nd_d,1\nd_new,0\nd_gone,\n"


def test_pairs_of_paths_become_queries_of_stems(scores: PairScores) -> None:
    table = result_files.query_prediction_table(scores)
    assert table["query"].to_pylist()[::2] == ["d_d", "a_gone"]
    assert table["prediction"].to_pylist() == [1, None, None]


def test_an_answer_file_needs_a_threshold(numbers: Numbers) -> None:
    listed = PairList(image_a=pa.array(["d"]), image_b=pa.array(["d"]))
    nobody = Threshold.choose(None, None)
    result = score_pairs(numbers.index, listed, numbers.resolver, nobody)
    with pytest.raises(InputError, match="pass --threshold"):
        result_files.query_prediction_table(result)


def test_outputs_are_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "there.csv").write_text("precious")
    with pytest.raises(InputError, match="--overwrite"):
        result_files.check_output(tmp_path / "there.csv", overwrite=False)
    result_files.check_output(tmp_path / "there.csv", overwrite=True)
    with pytest.raises(InputError, match="unknown suffix"):
        result_files.check_output(tmp_path / "out.xlsx", overwrite=False)
    with pytest.raises(InputError, match="no such folder"):
        result_files.check_output(tmp_path / "none" / "out.csv", overwrite=False)


def test_headers_and_odd_values_survive_every_form(tmp_path: Path) -> None:
    day = datetime.date(2024, 1, 31)
    rows = [{"query": "q", "a,b": 1, 'x"y': day, "z": float("nan")}]
    result_files.write_rows(rows, tmp_path / "out.csv", columns=())
    with open(tmp_path / "out.csv", newline="") as file:
        assert list(csv.reader(file)) == [
            ["query", "a,b", 'x"y', "z"],
            ["q", "1", "2024-01-31", "nan"],
        ]
    result_files.write_rows(rows, tmp_path / "out.jsonl", columns=())
    line = (tmp_path / "out.jsonl").read_text()
    assert json.loads(line) == {"query": "q", "a,b": 1, 'x"y': "2024-01-31", "z": None}
    assert "NaN" not in line


def test_no_rows_still_have_columns(tmp_path: Path) -> None:
    result_files.write_rows([], tmp_path / "out.csv", columns=("query", "rank"))
    assert (tmp_path / "out.csv").read_text() == "query,rank\n"
