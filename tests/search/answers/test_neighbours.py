"""Nearest neighbours are those of a plain sort, by ids and by exact distances."""

import numpy as np
import pytest

from histo_index.errors import InputError
from histo_index.indexer.reader import OpenIndex
from histo_index.search.answers.neighbours import neighbours_of
from histo_index.search.distance import pair_distances
from histo_index.search.neighbours.nearest import nearest_rows
from tests.search.conftest import NAMES, Numbers
from tests.vectors import build_numbered, unit_vectors


def test_neighbours_equal_a_plain_sort(tmp_path_factory: pytest.TempPathFactory) -> None:
    vectors = unit_vectors(500, 32)
    vectors[100:110] = vectors[100]  # exact ties keep their row order
    folder, _ = build_numbered(
        tmp_path_factory.mktemp("sort"), vectors, [f"{n:03}.png" for n in range(500)]
    )
    index = OpenIndex(folder)
    queries = np.concatenate([index.matrix[[3, 104]], unit_vectors(5, 32, seed=7)])
    queries = queries.astype(np.float16)
    own = [3, 104, None, None, None, None, None]
    answers = neighbours_of(index, nearest_rows(index, queries, k=12, own_rows=own))
    for query, row, found in zip(queries, own, answers, strict=True):
        distances = pair_distances(np.broadcast_to(query, (500, 32)), np.asarray(index.matrix))
        order = [int(n) for n in np.argsort(distances, kind="stable") if n != row][:12]
        assert [neighbour.image_id for neighbour in found] == [f"{n:03}.png" for n in order]
        assert [n.distance for n in found] == pytest.approx(distances[order], abs=1e-6)
        assert [neighbour.rank for neighbour in found] == list(range(1, 13))


def test_metadata_comes_along(numbers: Numbers) -> None:
    rows = nearest_rows(numbers.index, numbers.index.matrix[:1], k=1, own_rows=[None])
    found = neighbours_of(numbers.index, rows)[0][0]
    assert (found.image_id, found.path) == (NAMES[0], NAMES[0])
    assert found.distance == 0
    assert found.metadata == {"label": "class-0"}


def test_k_larger_than_the_index_returns_all(numbers: Numbers) -> None:
    rows = nearest_rows(numbers.index, numbers.index.matrix[:1], k=50, own_rows=[0])
    found = neighbours_of(numbers.index, rows)[0]
    assert sorted(neighbour.image_id for neighbour in found) == sorted(NAMES[1:])


def test_k_of_zero_is_refused(numbers: Numbers) -> None:
    with pytest.raises(InputError, match="at least 1"):
        nearest_rows(numbers.index, numbers.index.matrix[:1], k=0, own_rows=[None])
