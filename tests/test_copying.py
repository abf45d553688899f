"""An `Index` is copied and pickled by opening it again."""

import copy
import os
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

import histo_index
from histo_index.api.index import Index
from tests.cli.conftest import Workshop, finished_workshop, workshop
from tests.cli.test_pairs_and_search import A, B

__all__ = ["finished_workshop", "workshop"]


def pickled(index: Index) -> Index:
    found: Index = pickle.loads(pickle.dumps(index))
    return found


@pytest.mark.parametrize("duplicate", [pickled, copy.copy, copy.deepcopy])
def test_a_copy_answers_alike_from_the_newest_generation(
    workshop: Workshop, duplicate: Callable[[Index], Index]
) -> None:
    index = histo_index.open("tiles.hx")
    expected = index.search([A, B], k=3)
    assert duplicate(index).search([A, B], k=3) == expected
    assert duplicate(index).pair(A, B, threshold=1.0) == index.pair(A, B, threshold=1.0)
    histo_index.reindex(workshop.index)
    assert duplicate(index).manifest.generation == index.manifest.generation + 1


def test_a_copy_keeps_its_options_and_shows_private_columns_only_if_the_index_did(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = workshop.tiles / "labels.csv"
    histo_index.build(workshop.tiles, workshop.index, manifest=labels, private="group")
    indexes = [histo_index.open("tiles.hx", device="cpu", private=flag) for flag in (False, True)]
    data = [pickle.dumps(index) for index in indexes]
    # A worker need not run where the index was opened.
    monkeypatch.chdir(os.sep)
    hidden, shown = (pickle.loads(one) for one in data)
    assert hidden.opened.hidden == ["group"]
    assert "group" in shown.opened.rows.column_names
    assert [index.__reduce__()[0].keywords for index in (hidden, shown)] == [
        {"device": "cpu", "private": flag, "query_mpp": None, "any_mpp": False}
        for flag in (False, True)
    ]


def test_a_spawned_process_runs_a_bound_method(workshop: Workshop) -> None:
    index = histo_index.open(workshop.index)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        answer = pool.submit(index.pair, A, B, threshold=1.0).result()
    assert answer == index.pair(A, B, threshold=1.0)
    assert Path(answer.image_a) == Path(A)
