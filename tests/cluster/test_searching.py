"""Neighbours found in parts are those of one index."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import histo_index
from histo_index.api.cluster.search import label_rows, opened_for_search
from histo_index.api.index import Index
from histo_index.cluster.searching.merge import NOBODY, Ranked, merge, split_rows
from histo_index.cluster.searching.part import IndexPart
from histo_index.cluster.searching.ray_search import ShardedSearch
from histo_index.errors import IndexFormatError, InputError, MismatchError, PartialAnswerError
from tests.cluster.fake_ray import FakeRay
from tests.conftest import Tries
from tests.vectors import unit_vectors

N, D = 300, 16


def brute_force(distances: np.ndarray[Any, Any], count: int) -> Ranked:
    """Order all rows by distance, ties by row."""
    rows = np.broadcast_to(np.arange(distances.shape[1]), distances.shape)
    order = np.lexsort((rows, distances))[:, :count]
    return Ranked(rows=order, distances=np.take_along_axis(distances, order, axis=1))


def test_merged_parts_equal_one_index_with_ties(tries: Tries) -> None:
    random = np.random.default_rng(3)
    for _ in range(tries(200, 5_000)):
        count, parts, k = (int(random.integers(1, high)) for high in (60, 9, 20))
        # Few different distances, so that ties cross the parts.
        distances = random.integers(0, 6, (3, count)).astype(np.float32)
        found = []
        for start, stop in split_rows(count, parts):
            own = brute_force(distances[:, start:stop], k)
            pad = k - own.rows.shape[1]
            found.append(
                Ranked(
                    rows=np.pad(own.rows + start, ((0, 0), (0, pad)), constant_values=NOBODY),
                    distances=np.pad(
                        own.distances, ((0, 0), (0, pad)), constant_values=np.float32(np.inf)
                    ),
                )
            )
        whole, merged = brute_force(distances, k), merge(found, k)
        width = whole.rows.shape[1]
        np.testing.assert_array_equal(merged.rows[:, :width], whole.rows)
        np.testing.assert_array_equal(merged.distances[:, :width], whole.distances)
        assert (merged.rows[:, width:] == NOBODY).all()


@pytest.mark.parametrize(
    ("count", "parts", "expected"),
    [(10, 3, [(0, 3), (3, 6), (6, 10)]), (2, 4, [(0, 1), (1, 2)]), (0, 2, [])],
)
def test_rows_are_divided_evenly(count: int, parts: int, expected: list[tuple[int, int]]) -> None:
    assert split_rows(count, parts) == expected


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    vectors = unit_vectors(N, D)
    vectors[200:240] = vectors[10:50]  # ties across the parts
    ids = [f"t{number:03}" for number in range(N)]
    return histo_index.from_embeddings(
        ids, vectors, tmp_path_factory.mktemp("parts") / "x.hx",
        {"kind": ["ab"[number % 2] for number in range(N)]}, distance="plain",
    )  # fmt: skip


def sharded(index: Index, ray: FakeRay, **options: Any) -> ShardedSearch:
    folder, manifest = index.opened.folder, index.manifest
    return ShardedSearch(ray, folder, manifest.generation, rows=N, parts=4, **options)


@pytest.mark.parametrize("options", [{}, {"where": "kind = 'a'"}, {"exclude_same": "kind"}])
def test_answers_are_those_of_one_index(index: Index, options: dict[str, str]) -> None:
    queries = [f"t{number:03}" for number in range(0, N, 7)]
    alone = index.search(queries, k=12, **options)  # type: ignore[arg-type]
    index.opened.search_by(sharded(index, FakeRay()))
    try:
        parts = index.search(queries, k=12, **options)  # type: ignore[arg-type]
    finally:
        index.opened.search_by(None)
    assert [list(found) for found in parts] == [list(found) for found in alone]


def test_a_lost_part_is_refused_or_labelled(index: Index, caplog: pytest.LogCaptureFixture) -> None:
    query = unit_vectors(1, D)
    ray = FakeRay(lost={2})
    with pytest.raises(PartialAnswerError, match="only 3 of 4 parts of the index answered; ask"):
        sharded(index, ray).search(query, 5)
    search = sharded(index, FakeRay(lost={2}), allow_partial=True)
    with search.counting() as count:
        found = search.search(query, N)
    assert (count.answered, count.parts, count.label) == (3, 4, "3 of 4")
    assert "partial: only 3 of 4 parts of the index answered" in caplog.text
    assert set(found[0, :225].tolist()) == {*range(150), *range(225, N)}
    assert label_rows([{"rank": 1}], count.label) == [{"rank": 1, "parts": "3 of 4"}]
    assert label_rows([{"rank": 1}], None) == [{"rank": 1}]
    search = sharded(index, FakeRay(lost={0, 1, 2, 3}), allow_partial=True)
    with search.counting(), pytest.raises(PartialAnswerError, match="only 0 of 4"):
        search.search(query, 5)


def test_an_answer_is_as_partial_as_the_worst_of_its_searches(index: Index) -> None:
    """A long list is searched in blocks, and few candidates are searched again."""
    ray = FakeRay(lost={2})
    search = sharded(index, ray, allow_partial=True)
    with search.counting() as count:
        search.search(unit_vectors(1, D), 5)
        ray.lost.clear()
        search.search(unit_vectors(1, D), 5)
    assert count.label == "3 of 4"
    with search.counting() as count:
        search.search(unit_vectors(1, D), 5)
    assert count.label is None


def test_threads_count_their_own_searches(index: Index) -> None:
    ray = FakeRay(lost={2})
    search = sharded(index, ray, allow_partial=True)

    def ask() -> str | None:
        with search.counting() as count:
            search.search(unit_vectors(1, D), 5)
        return count.label

    with search.counting() as count:
        with ThreadPoolExecutor(1) as threads:
            assert threads.submit(ask).result() == "3 of 4"
        assert count.label is None


def test_a_partial_answer_that_nobody_labels_is_refused(index: Index) -> None:
    search = sharded(index, FakeRay(lost={2}), allow_partial=True)
    with pytest.raises(PartialAnswerError, match=r"only 3 of 4 .* machines are back$"):
        search.search(unit_vectors(1, D), 5)


def test_a_part_of_another_generation_is_refused(index: Index) -> None:
    part = IndexPart(index.opened.folder, 7, (0, 10))
    with pytest.raises(MismatchError, match="generation 1, and the search began in 7"):
        part.search(unit_vectors(1, D), 3, None)


def test_a_part_reads_no_names(index: Index, tmp_path: Path) -> None:
    folder = shutil.copytree(index.opened.folder, tmp_path / "x.hx")
    (rows,) = folder.glob("search/*/rows.arrow")
    rows.chmod(0o600)
    rows.write_bytes(bytes(rows.stat().st_size))
    found = IndexPart(folder, 1, (0, 10)).search(unit_vectors(1, D), 3, None)
    assert found.rows.shape == (1, 3)
    with pytest.raises(IndexFormatError, match=r"rows\.arrow"):
        histo_index.open(folder)


def test_parts_that_cannot_be_opened_end_the_start(index: Index) -> None:
    with pytest.raises(MismatchError, match="generation 1, and the search began in 7"):
        ShardedSearch(FakeRay(), index.opened.folder, 7, rows=N, parts=4)


@pytest.mark.parametrize(
    ("engine", "parts", "message"),
    [(None, 2, "go with --engine ray"), ("spark", None, "--engine spark: expected ray")],
)
def test_options_of_an_engine_need_one(
    index: Index, engine: str | None, parts: int | None, message: str
) -> None:
    folder = index.opened.folder
    with (
        pytest.raises(InputError, match=message),
        opened_for_search(folder, engine, None, parts, allow_partial=False),
    ):
        raise AssertionError
