"""Sources are drawn evenly, every tile about as often as its share."""

import pytest
import torch

from histo_index.encoder.training.batches.order import Draws

SOURCES = ["many"] * 900 + ["few"] * 100


def drawn(draws: Draws, seed: int = 0) -> list[int]:
    return draws.order(torch.Generator().manual_seed(seed)).tolist()


def test_without_sources_every_tile_is_drawn_once() -> None:
    order = drawn(Draws(None, 50))
    assert sorted(order) == list(range(50))
    assert order != list(range(50))


def test_a_source_is_drawn_in_proportion_to_the_root_of_its_size() -> None:
    order = drawn(Draws(SOURCES, 1_000))
    assert len(order) == 1_000
    # Roots of 900 and 100: three to one.
    assert sum(tile >= 900 for tile in order) == pytest.approx(250, abs=1)


def test_tiles_of_a_source_are_drawn_equally_often_but_for_rounding() -> None:
    order = drawn(Draws(SOURCES, 1_000))
    counts = torch.bincount(torch.tensor(order), minlength=1_000)
    assert set(counts[900:].tolist()) <= {2, 3}
    assert set(counts[:900].tolist()) <= {0, 1}


def test_other_tiles_are_drawn_in_another_epoch() -> None:
    draws = Draws(SOURCES, 1_000)
    assert set(drawn(draws)) != set(drawn(draws, seed=1))


@pytest.mark.parametrize(("position", "tile"), [(0.0, 0), (0.749, 898), (0.751, 900), (1.0, 999)])
def test_a_position_falls_on_the_tile_of_its_share(position: float, tile: int) -> None:
    assert Draws(SOURCES, 1_000).at(position) == pytest.approx(tile, abs=1)


def test_without_sources_positions_are_even() -> None:
    assert [Draws(None, 4).at(position) for position in (0.0, 0.3, 0.99, 1.0)] == [0, 1, 3, 3]
