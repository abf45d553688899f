"""Exact search through torch finds what a sort finds; on the CPU here, on a GPU in tests/gpu."""

import logging
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np
import pytest
import torch

from histo_index.indexer.nearest.torch_exact import BlockSizes, TorchSearch, multiply
from tests.vectors import sorted_rows, unit_vectors

N, D = 1000, 32
ROOM: Final = 10**9
HALVES: Final = unit_vectors(N, D).astype(np.float16)
QUERIES: Final = unit_vectors(30, D, seed=1).astype(np.float16).astype(np.float32)
SOME: Final = np.arange(N) % 7 == 3
FEW: Final = np.arange(N) < 4


SMALL: Final = BlockSizes(vector_bytes=300 * 2 * D, queries=8)
open_search: Final = partial(TorchSearch, device="cpu", sizes=SMALL)
plain: Final = partial(sorted_rows, QUERIES, HALVES)


@pytest.mark.parametrize("room", [0, ROOM])
@pytest.mark.parametrize("allowed", [None, SOME])
@pytest.mark.parametrize("count", [1, 9, 140])
def test_search_equals_a_full_sort(
    room: int, allowed: np.ndarray[Any, Any] | None, count: int
) -> None:
    search = open_search(HALVES, room_bytes=room)
    assert search.is_kept == (room == ROOM)
    for _ in range(2):
        found = search.search(QUERIES, count, allowed)
        np.testing.assert_array_equal(found, plain(allowed)[:, :count])


@pytest.mark.parametrize("room", [0, ROOM])
def test_missing_neighbours_are_minus_one(room: int) -> None:
    search = open_search(HALVES, room_bytes=room)
    found = search.search(QUERIES, 6, FEW)
    np.testing.assert_array_equal(found[:, :4], plain(FEW)[:, :4])
    assert (found[:, 4:] == -1).all()
    every = search.search(QUERIES, N + 5)
    np.testing.assert_array_equal(every[:, :9], plain()[:, :9])
    np.testing.assert_array_equal(np.sort(every[:, :N], axis=1), np.tile(np.arange(N), (30, 1)))
    assert (every[:, N:] == -1).all()
    assert search.search(QUERIES[:0], 3).shape == (0, 3)


def test_fewer_queries_at_a_time_for_many_neighbours() -> None:
    asked: list[int] = []

    def watch(queries: torch.Tensor, block: torch.Tensor) -> torch.Tensor:
        asked.append(len(queries))
        return multiply(queries, block)

    search = open_search(
        HALVES, room_bytes=ROOM, sizes=replace(SMALL, neighbours=1500), multiply=watch
    )
    np.testing.assert_array_equal(search.search(QUERIES, 500)[:, :99], plain()[:, :99])
    # Four blocks each.
    assert asked == [3] * 10 * 4
    asked.clear()
    search.search(QUERIES, 2000)
    assert asked == [1] * 30 * 4


def test_vectors_need_not_be_of_unit_length() -> None:
    stretched = (HALVES * np.linspace(0.9, 1.1, N)[:, None]).astype(np.float16)
    expected = sorted_rows(QUERIES, stretched)[:, :9]
    search = open_search(stretched, room_bytes=ROOM)
    np.testing.assert_array_equal(search.search(QUERIES, 9), expected)


class Full(np.ndarray[Any, Any]):
    """Vectors whose third block finds no memory on the device; later reads succeed."""

    reads = 0

    def __getitem__(self, key: Any) -> Any:
        self.reads += 1
        if self.reads == 3:
            raise torch.OutOfMemoryError
        return super().__getitem__(key)


def test_vectors_stream_through_a_device_that_runs_full(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        search = open_search(HALVES.view(Full), room_bytes=ROOM)
    assert not search.is_kept
    assert "pass through" in caplog.text
    np.testing.assert_array_equal(search.search(QUERIES, 9), plain()[:, :9])


def test_kept_vectors_are_released_when_memory_runs_out() -> None:
    def full_while_kept(queries: torch.Tensor, block: torch.Tensor) -> torch.Tensor:
        if search.is_kept:
            raise torch.OutOfMemoryError
        return multiply(queries, block)

    search = open_search(HALVES, room_bytes=ROOM, multiply=full_while_kept)
    np.testing.assert_array_equal(search.search(QUERIES, 9), plain()[:, :9])
    assert not search.is_kept


def test_out_of_memory_without_kept_vectors_is_raised() -> None:
    def full(queries: torch.Tensor, block: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        open_search(HALVES, room_bytes=0, multiply=full).search(QUERIES, 9)
