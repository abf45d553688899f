"""Neighbours of other groups are ranked exactly, and judged as worked out by hand."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from histo_index.search.retrieval_metrics import (
    RETRIEVAL_METRICS,
    Ranking,
    answerable,
    average_precisions,
    majority_votes,
    micro_and_macro,
    rank_others,
    retrieval_values,
)
from tests.vectors import unit_vectors


def test_neighbours_are_those_of_a_plain_sort_without_the_own_group() -> None:
    vectors = unit_vectors(700, 8)
    groups = np.arange(700) % 5
    queries = np.array([0, 3, 699])
    found = rank_others(vectors, groups, queries, k=4)
    exact = ((vectors[:, None] - vectors[None]) ** 2).sum(axis=2)
    for row, query in enumerate(queries):
        distances = np.where(groups == groups[query], np.inf, exact[query])
        nearest = np.argsort(distances, kind="stable")[:4]
        assert found.neighbours[row].tolist() == nearest.tolist()
        assert found.distances[row] == pytest.approx(distances[nearest], abs=1e-6)


def test_few_other_groups_leave_ranks_empty() -> None:
    found = rank_others(unit_vectors(4, 8), np.array([0, 0, 0, 1]), np.array([0]), k=3)
    assert found.neighbours.tolist() == [[3, -1, -1]]
    assert np.isinf(found.distances[0, 1:]).all()


def test_equal_distances_keep_the_order_of_the_tiles() -> None:
    vectors = np.repeat(unit_vectors(2, 8), 6, axis=0)
    found = rank_others(vectors, np.arange(12), np.array([4]), k=5)
    assert found.neighbours[0].tolist() == [0, 1, 2, 3, 5]


def test_metrics_of_one_query_match_a_calculation_by_hand() -> None:
    # Classes of the ten neighbours of a tile of class 0; three tiles of class 0 lie elsewhere.
    others = [1, 0, 1, 0, 2, 2, 2, 2, 0, 1]
    labels = np.array([0, *others])
    ranking = Ranking(
        queries=np.array([0]),
        neighbours=np.arange(1, 11)[None],
        distances=np.linspace(0.1, 1, 10, dtype=np.float32)[None],
    )
    (values,) = retrieval_values(ranking, labels, np.arange(11))
    found = dict(zip(RETRIEVAL_METRICS, values, strict=True))
    assert found == pytest.approx(
        {
            "accuracy@1": 0.0,
            "vote@3": 0.0,  # 1, 0, 1
            "vote@5": 0.0,  # two of 1, two of 0: the nearest decides
            "vote@10": 0.0,
            "map@5": (1 / 2 + 2 / 4) / 3,
            "map@10": (1 / 2 + 2 / 4 + 3 / 9) / 3,
            "recall@5": 1.0,
            "recall@10": 1.0,
        }
    )


def test_votes_are_won_by_number_and_ties_by_nearness() -> None:
    labels = np.array([[2, 1, 1], [1, 2, 3], [3, -1, -1]])
    assert majority_votes(labels).tolist() == [1, 1, 3]


def test_average_precision_is_that_of_scikit_learn_where_all_are_ranked() -> None:
    is_right = np.random.default_rng(0).random((1, 30)) < 0.3
    expected = average_precision_score(is_right[0], -np.arange(30))
    assert average_precisions(is_right, is_right.sum(axis=1)) == pytest.approx([expected])


def test_queries_need_a_tile_of_their_class_in_another_group() -> None:
    labels, groups = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 0, 0, 1])
    assert answerable(labels, groups, np.arange(5)).tolist() == [True, True, False, False, False]


def test_macro_counts_every_class_the_same() -> None:
    values = np.array([[1.0], [1.0], [1.0], [0.0]])
    micro, macro = micro_and_macro(values, np.array([0, 0, 0, 1]), np.ones(4))
    assert (micro[0], macro[0]) == (0.75, 0.5)
    micro, macro = micro_and_macro(values, np.array([0, 0, 0, 1]), np.array([1.0, 0, 0, 3]))
    assert (micro[0], macro[0]) == (0.25, 0.5)
    assert np.isnan(micro_and_macro(values, np.array([0, 0, 0, 1]), np.zeros(4))[0]).all()
