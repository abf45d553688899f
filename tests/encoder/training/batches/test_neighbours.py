"""Which tiles touch on a slide, and how often the second view of a tile is of one of them."""

import numpy as np
import pytest

from histo_index.encoder.training.batches.neighbours import Neighbours, Place, find_touching

# Three rows of four tiles of 100 pixels.
GRID = [Place("a", 100.0 * (n % 4), 100.0 * (n // 4), 100.0, 100.0) for n in range(12)]


def test_tiles_touch_at_their_sides_and_corners() -> None:
    touching = find_touching(GRID)
    assert [sorted(others) for others in touching[:6]] == [
        [1, 4, 5], [0, 2, 4, 5, 6], [1, 3, 5, 6, 7], [2, 6, 7],
        [0, 1, 5, 8, 9], [0, 1, 2, 4, 6, 8, 9, 10],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("other", "touches"),
    [
        (Place("a", 105.0, 0.0, 100.0, 100.0), True),  # a seam of the grid
        (Place("a", 106.0, 0.0, 100.0, 100.0), False),
        (Place("a", 0.0, -106.0, 100.0, 100.0), False),
        (Place("a", 20.0, -60.0, 100.0, 100.0), True),  # they overlap
        (Place("a", 0.0, 0.0, 100.0, 100.0), False),  # the same region
        (Place("b", 100.0, 0.0, 100.0, 100.0), False),  # another slide
        (Place("a", 100.0, 0.0, 50.0, 50.0), False),  # another scale
        (None, False),
    ],
)
def test_neighbours_are_beside_a_tile_on_its_slide_at_its_scale(
    other: Place | None, touches: bool
) -> None:
    expected: list[tuple[int, ...]] = [(1,), (0,)] if touches else [(), ()]
    assert find_touching([GRID[0], other]) == expected


def test_touching_tiles_are_those_that_a_comparison_of_all_pairs_finds() -> None:
    random = np.random.default_rng(0)
    places: list[Place | None] = [
        Place(f"slide {random.integers(2)}", random.uniform(-600, 600), y, 70.0, 90.0)
        for y in random.uniform(-600, 600, 300).tolist()
    ]
    places[7] = None
    found = find_touching(places)
    for row, place in enumerate(places):
        near = [
            other
            for other, beside in enumerate(places)
            if place is not None
            and beside is not None
            and other != row
            and place.slide == beside.slide
            and abs(place.x - beside.x) <= 1.05 * 70
            and abs(place.y - beside.y) <= 1.05 * 90
        ]
        assert sorted(found[row]) == near
    assert 500 < sum(map(len, found)) < 2_000


def test_many_tiles_at_one_place_have_few_neighbours() -> None:
    """Otherwise the time would grow with the square of their number."""
    places = [Place("a", 0.001 * n, 0.0, 100.0, 100.0) for n in range(500)]
    assert {len(others) for others in find_touching(places)} == {63, 64}


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_this_share_of_second_views_is_of_touching_tiles(share: float) -> None:
    touching = find_touching([*GRID, None])
    neighbours = Neighbours(touching=touching, share=share, seed=3)
    drawn = {
        (epoch, tile): neighbours.second(epoch, tile) for epoch in range(100) for tile in range(13)
    }
    others = [tile != other for (_, tile), other in drawn.items() if tile < 12]
    assert np.mean(others) == pytest.approx(share, abs=0.03)
    assert all(other == tile or other in touching[tile] for (_, tile), other in drawn.items())
    # Its place is unknown.
    assert {other for (_, tile), other in drawn.items() if tile == 12} == {12}
    assert neighbours.known == 12


def test_all_touching_tiles_are_drawn_and_the_draws_follow_from_seed_epoch_and_tile() -> None:
    touching = find_touching(GRID)
    draws = {
        seed: [Neighbours(touching=touching, share=1.0, seed=seed).second(e, 5) for e in range(100)]
        for seed in (0, 1)
    }
    assert set(draws[0]) == set(touching[5])
    assert draws[0] != draws[1]
    again = Neighbours(touching=touching, share=1.0, seed=0)
    assert [again.second(epoch, 5) for epoch in range(100)] == draws[0]
