"""Exact search through torch finds what a sort finds; on the CPU here, on a GPU in tests/gpu."""

import logging
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import numpy as np
import pytest
import torch

from histo_index.indexer.nearest import torch_exact as torch_search
from histo_index.indexer.nearest.torch_exact import TorchSearch
from tests.vectors import sorted_rows, unit_vectors

N, D = 1000, 32
ROOM: Final = 10**9
HALVES: Final = unit_vectors(N, D).astype(np.float16)
QUERIES: Final = unit_vectors(30, D, seed=1).astype(np.float16).astype(np.float32)
SOME: Final = np.arange(N) % 7 == 3
FEW: Final = np.arange(N) < 4


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_search, "_BLOCK_BYTES", 300 * 2 * D)
    monkeypatch.setattr(torch_search, "_QUERIES", 8)


plain: Final = partial(sorted_rows, QUERIES, HALVES)


@pytest.mark.parametrize("room", [0, ROOM])
@pytest.mark.parametrize("allowed", [None, SOME])
@pytest.mark.parametrize("count", [1, 9, 140])
def test_it_finds_what_a_sort_finds(
    room: int, allowed: np.ndarray[Any, Any] | None, count: int
) -> None:
    search = TorchSearch(HALVES, device="cpu", room_bytes=room)
    assert search.is_kept == (room == ROOM)
    for _ in range(2):
        found = search.search(QUERIES, count, allowed)
        np.testing.assert_array_equal(found, plain(allowed)[:, :count])


@pytest.mark.parametrize("room", [0, ROOM])
def test_where_no_more_may_come_back_nothing_does(room: int) -> None:
    search = TorchSearch(HALVES, device="cpu", room_bytes=room)
    found = search.search(QUERIES, 6, FEW)
    np.testing.assert_array_equal(found[:, :4], plain(FEW)[:, :4])
    assert (found[:, 4:] == -1).all()
    every = search.search(QUERIES, N + 5)
    np.testing.assert_array_equal(every[:, :9], plain()[:, :9])
    np.testing.assert_array_equal(np.sort(every[:, :N], axis=1), np.tile(np.arange(N), (30, 1)))
    assert (every[:, N:] == -1).all()
    assert search.search(QUERIES[:0], 3).shape == (0, 3)


def test_of_many_neighbours_fewer_queries_are_asked_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []
    compare = TorchSearch._compare

    def watch(search: TorchSearch, queries: Any, count: int, allowed: Any) -> Any:
        asked.append(len(queries))
        return compare(search, queries, count, allowed)

    monkeypatch.setattr(TorchSearch, "_compare", watch)
    monkeypatch.setattr(torch_search, "_FOUND", 1500)
    search = TorchSearch(HALVES, device="cpu", room_bytes=ROOM)
    np.testing.assert_array_equal(search.search(QUERIES, 500)[:, :99], plain()[:, :99])
    assert asked == [3] * 10
    asked.clear()
    search.search(QUERIES, 2000)
    assert asked == [1] * 30


def test_lengths_count_where_rounding_has_changed_them() -> None:
    stretched = (HALVES * np.linspace(0.9, 1.1, N)[:, None]).astype(np.float16)
    expected = sorted_rows(QUERIES, stretched)[:, :9]
    search = TorchSearch(stretched, device="cpu", room_bytes=ROOM)
    np.testing.assert_array_equal(search.search(QUERIES, 9), expected)


def test_vectors_that_do_not_fit_after_all_pass_through(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    passing = TorchSearch._passing
    blocks = 0

    def two_fit(search: TorchSearch) -> Iterator[torch_search.Block]:
        nonlocal blocks
        for block in passing(search):
            blocks += 1
            if blocks == 3:
                raise torch.OutOfMemoryError
            yield block

    monkeypatch.setattr(TorchSearch, "_passing", two_fit)
    with caplog.at_level(logging.INFO):
        search = TorchSearch(HALVES, device="cpu", room_bytes=ROOM)
    assert not search.is_kept
    assert "pass through" in caplog.text
    np.testing.assert_array_equal(search.search(QUERIES, 9), plain()[:, :9])


def test_memory_that_others_take_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    search = TorchSearch(HALVES, device="cpu", room_bytes=ROOM)
    products = torch_search._products

    def full_while_kept(queries: torch.Tensor, block: torch.Tensor) -> torch.Tensor:
        if search.is_kept:
            raise torch.OutOfMemoryError
        return products(queries, block)

    monkeypatch.setattr(torch_search, "_products", full_while_kept)
    np.testing.assert_array_equal(search.search(QUERIES, 9), plain()[:, :9])
    assert not search.is_kept

    def full(queries: torch.Tensor, block: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(torch_search, "_products", full)
    with pytest.raises(torch.OutOfMemoryError):
        search.search(QUERIES, 9)
