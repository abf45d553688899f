"""Filters decide before the search: k come back if k may, and are the nearest of those."""

import re

import numpy as np
import pyarrow as pa
import pytest

import histo_index
from histo_index.arrays import Float32
from histo_index.errors import InputError
from histo_index.indexer.reader import OpenIndex
from histo_index.search.distance import pair_distances
from histo_index.search.neighbours.exclusion import group_queries
from histo_index.search.neighbours.filters import Filters, passing, quote_columns
from histo_index.search.neighbours.nearest import NOBODY, nearest_rows
from tests.vectors import build_numbered, unit_vectors

N, D = 400, 24
SITES = "ABCD"


def patient(row: int) -> str:
    return "" if row % 50 == 49 else f"p{row % 7}"


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> OpenIndex:
    folder, _ = build_numbered(
        tmp_path_factory.mktemp("filters"),
        unit_vectors(N, D),
        [f"{n:03}.png" for n in range(N)],
        columns=",site,mpp,depth,patient",
        # A patient left empty in a column of text is an empty text; depth is null there.
        rows=[f",{SITES[n % 4]},{n / 1000},{n if n % 2 else ''},{patient(n)}" for n in range(N)],
    )
    return OpenIndex(folder)


def found_rows(
    index: OpenIndex, query: int, k: int, filters: Filters, *, exclude_self: bool = True
) -> list[int]:
    found = nearest_rows(
        index,
        index.matrix[[query]],
        k=k,
        own_rows=[query],
        exclude_self=exclude_self,
        filters=filters,
    )
    return [row for row in found.rows[0].tolist() if row != NOBODY]


def plain_rows(index: OpenIndex, query: int, allowed: list[int]) -> list[int]:
    matrix: Float32 = np.asarray(index.matrix[allowed])
    distances = pair_distances(np.broadcast_to(index.matrix[query], matrix.shape), matrix)
    return [allowed[row] for row in np.argsort(distances, kind="stable")]


@pytest.mark.parametrize(
    ("where", "is_wanted"),
    [
        ("site == 'A' and mpp < 0.3", lambda n: n % 4 == 0 and n < 300),
        ("site in ('A', 'C')", lambda n: n % 2 == 0),
        ("depth > 390", lambda n: n % 2 == 1 and n > 390),
        ("image_id like '%7.png' or width <> 4", lambda n: n % 10 == 7),
        ("mpp = 0.123", lambda n: n == 123),
    ],
)
def test_where_returns_the_nearest_matching_tiles(
    index: OpenIndex, where: str, is_wanted: object
) -> None:
    assert callable(is_wanted)
    allowed = [n for n in range(N) if is_wanted(n) and n != 5]
    found = found_rows(index, 5, 12, Filters(where=where))
    assert found == plain_rows(index, 5, allowed)[:12]


def test_exclude_same_leaves_out_equal_and_unknown_values(index: OpenIndex) -> None:
    filters = Filters(exclude_same=("depth", "site"))
    allowed = [n for n in range(N) if n % 2 and n % 4 != 1 and n != 5]
    assert found_rows(index, 5, N, filters) == plain_rows(index, 5, allowed)


def test_each_query_leaves_out_its_own_value(index: OpenIndex) -> None:
    filters = Filters(exclude_same=("patient",), where="site = 'B'")
    own = [3, 4, 10]
    found = nearest_rows(index, index.matrix[own], k=5, own_rows=own, filters=filters)
    for query, answers in zip(own, found.rows.tolist(), strict=True):
        allowed = [n for n in range(N) if patient(n) != patient(query) and n % 4 == 1]
        expected = plain_rows(index, query, allowed)[:5]
        assert answers == expected


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("sight = 'A'", "there is no column sight; expected"),
        ('site = "A"', "there is no column A;"),
        ("site = 'A", "a quote is not closed"),
        ("mpp < 'thick'", "thick is no number, and the column holds numbers"),
        ("mpp", "it is not true or false"),
        ("*", "it is not true or false"),
        ("count(*) > 1", "it has no single value for each tile"),
        ("mpp > 0, mpp < 1", "it is not one expression"),
        ("true) from tiles; drop table x --", "it cannot be read at )"),
        ("", "it is empty"),
        ("exists(select * from read_csv('labels.csv'))", "it may not read files"),
        ("stem = 'a'", "there is no column stem"),
        ("site = 'nowhere'", "true of no tile; check the values it names"),
        ("site\n= 'nowhere'", "--where site\\n= 'nowhere': true of no tile"),
    ],
)
def test_an_expression_that_cannot_be_used_is_one_line(
    index: OpenIndex, where: str, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        passing(index.rows, where)
    assert message in str(caught.value)
    assert str(caught.value).startswith("--where ")
    assert "\n" not in str(caught.value)


def test_an_expression_sees_no_variable_of_ours(index: OpenIndex) -> None:
    secret = pa.table({"site": ["A"]})
    assert len(secret) == 1
    with pytest.raises(InputError, match="there is no table secret"):
        passing(index.rows, "site in (select site from secret)")


def test_bad_columns_and_values_of_exclude_same_are_one_line(index: OpenIndex) -> None:
    with pytest.raises(InputError) as caught:
        found_rows(index, 5, 3, Filters(exclude_same=["patiant"]))
    assert str(caught.value) == (
        "--exclude-same patiant: no such column; the index has image_id, path, sha256, width, "
        "height, note, site, mpp, depth, patient"
    )
    with pytest.raises(InputError, match=r"depth: query 1 has no value there; ask"):
        found_rows(index, 4, 3, Filters(exclude_same=["depth"]))
    with pytest.raises(InputError, match=r"site: query 1 is not in the index; pass"):
        nearest_rows(
            index,
            index.matrix[:1],
            k=1,
            own_rows=[None],
            filters=Filters(exclude_same=["site"]),
        )


def test_filter_that_matches_no_other_tile_returns_no_neighbour(index: OpenIndex) -> None:
    assert found_rows(index, 5, 3, Filters(where="image_id = '005.png'")) == []


def test_fewer_than_k_results_are_reported(
    index: OpenIndex, caplog: pytest.LogCaptureFixture
) -> None:
    (found,) = histo_index.open(index.folder).search("005.png", k=10, where="mpp < 0.004")
    assert len(found) == 4
    assert caplog.messages == ["k is 10 but only 4 tiles can be returned"]


def test_a_mask_is_in_the_order_of_the_rows() -> None:
    # With its own threads DuckDB mixed up the chunks in 2 % of such calls on two busy cores.
    chunks = [
        pa.table({"n": np.arange(at, at + 64), "stem": ["x"] * 64}) for at in range(0, 640, 64)
    ]
    rows = pa.concat_tables(chunks)
    for _ in range(20):
        np.testing.assert_array_equal(passing(rows, "n < 100"), np.arange(640) < 100)


@pytest.mark.parametrize(
    ("where", "quoted"),
    [
        ("label='AC' and group='training'", "label='AC' and \"group\"='training'"),
        ("GROUP <> 'group'", "\"GROUP\" <> 'group'"),
        ("\"group\" = 'it''s group'", "\"group\" = 'it''s group'"),
        ("order(group) > group1", 'order("group") > group1'),
    ],
)
def test_columns_named_like_words_of_sql_are_quoted(where: str, quoted: str) -> None:
    assert quote_columns(where, ["group", "order"]) == quoted


def test_keywords_work_as_columns_without_quotes() -> None:
    table = pa.table({"group": ["a", "b", "b"], "end": [1, 2, 3], "stem": ["x"] * 3})
    assert passing(table, "group = 'b' and end > 2").tolist() == [False, False, True]
    found = passing(table, 'case when "end" = 1 then true else false end')
    assert found.tolist() == [True, False, False]


def test_duckdb_is_never_quoted() -> None:
    table = pa.table({"group": ["a", "b"], "n": [1, 2], "stem": ["x", "y"]})
    for where in (
        "grp = 'a'",
        "n = 'x'",
        "group = ",
        "foo(n)",
        "n +",
        "'",
        "n in (1",
        "sum(n) > 0",
    ):
        with pytest.raises(InputError) as caught:
            passing(table, where)
        assert not re.search(
            r"Binder|Parser|Catalog|Conversion|Error|Candidate|FROM|LINE", str(caught.value)
        )
        assert str(caught.value).endswith("over the columns group, n")


def test_a_query_outside_the_index_may_have_a_value() -> None:
    table = pa.table({"group": ["a", "b"], "n": [1, 2], "stem": ["x", "y"]})
    filters = Filters(exclude_same=["group", "n"], values={"group": "a", "n": "2"})
    (group,) = group_queries(table, filters, [None])
    assert group.allowed is not None
    assert group.allowed.tolist() == [False, False]
    (group,) = group_queries(table, Filters(exclude_same=["n"], values={"n": "2"}), [None])
    assert group.allowed is not None
    assert group.allowed.tolist() == [True, False]
    with pytest.raises(InputError, match=r"query 1 is not in the index; pass --value group=VALUE"):
        list(group_queries(table, Filters(exclude_same=["group"]), [None]))
    with pytest.raises(InputError, match=r"--value n=x: the column holds int64; expected a value"):
        list(group_queries(table, Filters(exclude_same=["n"], values={"n": "x"}), [None]))
