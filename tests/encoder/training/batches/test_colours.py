"""A tile takes over the colours of another one, in optical density."""

import numpy as np
import pytest
import torch

from histo_index.arrays import Pixels
from histo_index.encoder.training.batches.colours import Colours, Crossing
from histo_index.encoder.training.batches.order import Draws


def tile(mean: float, spread: float, seed: int) -> Pixels:
    """Random pixels whose optical density has this mean and spread."""
    density = np.random.default_rng(seed).normal(mean, spread, (64, 64, 3))
    return (np.exp(-density) * 255).clip(1, 255).round().astype(np.uint8)


TILES = [tile(0.4, 0.05, 0), tile(1.0, 0.15, 1)]
COLOURS = Colours.join([Colours.of(pixels) for pixels in TILES])


def image(number: int) -> torch.Tensor:
    return torch.from_numpy(TILES[number]).permute(2, 0, 1)


def test_colours_are_mean_and_spread_of_optical_density() -> None:
    assert COLOURS.means[:, 0].tolist() == pytest.approx([0.4, 1.0], abs=0.05)
    assert COLOURS.spreads[:, 0].tolist() == pytest.approx([0.05, 0.15], rel=0.4)


@pytest.mark.parametrize(("share", "other"), [(0.0, 0), (1.0, 1)])
def test_the_share_says_whose_colours_a_tile_has(share: float, other: int) -> None:
    moved = COLOURS.transfer(image(0), 0, 1, share)
    found = Colours.of(moved.permute(1, 2, 0).numpy())
    assert moved.dtype == torch.uint8
    torch.testing.assert_close(found.means[0], COLOURS.means[other], atol=0.03, rtol=0)
    torch.testing.assert_close(found.spreads[0], COLOURS.spreads[other], atol=0.02, rtol=0)


def test_an_empty_tile_is_not_scaled_up_to_the_spread_of_tissue() -> None:
    empty = np.full((64, 64, 3), 240, np.uint8)
    empty[0, 0] = 239
    colours = Colours.join([Colours.of(empty), Colours.of(TILES[1])])
    moved = colours.transfer(torch.from_numpy(empty).permute(2, 0, 1), 0, 1, 1.0)
    assert int(moved.max()) - int(moved.min()) <= 10  # hundreds otherwise


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_this_share_of_the_views_is_changed(share: float) -> None:
    crossing = Crossing(colours=COLOURS, draws=Draws(None, 2), share=share)
    torch.manual_seed(0)
    changed = sum(not torch.equal(crossing.apply(image(0), 0), image(0)) for _ in range(200))
    # Half of them draw the tile itself, which comes back as it was.
    assert changed == pytest.approx(100 * share, abs=25 * share)
