"""What two views of a tile are: same numbers whoever makes them, tissue still tissue."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from histo_index.demo.tiles import render_tile
from histo_index.encoder.training.augment import QuarterTurn, StainJitter, TissueCrop
from histo_index.encoder.training.batches.order import Draws, Order, Share, mix_seed
from histo_index.encoder.training.recipes import HISTOLOGY, RECIPES
from histo_index.encoder.training.views import Views, first_views_first, load


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("tiles")
    paths = []
    for number, category in enumerate(("glands", "stroma", "fat", "mucus", "lymphocytes")):
        path = folder / f"{number}.png"
        Image.fromarray(render_tile(category, seed=number)).save(path)
        paths.append(path)
    return paths


# A machine of one core has fewer than the two processes.
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
@pytest.mark.parametrize("name", RECIPES)
def test_views_are_the_same_in_any_process_and_differ_from_each_other(
    name: str, tiles: list[Path]
) -> None:
    views = Views(tiles, RECIPES[name].views(), seed=7)
    order = Order(Draws(None, 5), epoch=2, seed=7, batch=2)
    alone = list(load(views, order, workers=0))
    in_others = list(load(views, order, workers=2))
    crop = RECIPES[name].crop_px
    assert [tuple(batch.shape) for batch in alone] == [(4, crop, crop, 3)] * 2
    for one, other in zip(alone, in_others, strict=True):
        assert one.dtype == torch.uint8
        assert torch.equal(one, other)
        assert not torch.equal(one[0], one[2])
    assert not torch.equal(views[2, 0], views[3, 0])


def test_making_views_leaves_the_random_state_alone(tiles: list[Path]) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    Views(tiles, HISTOLOGY.views(), seed=7)[0, 0]
    assert torch.equal(torch.get_rng_state(), before)


def test_an_epoch_visits_every_tile_once_but_the_rest_of_a_batch() -> None:
    batches = list(Order(Draws(None, 10), epoch=0, seed=1, batch=3))
    visited = [tile for batch in batches for _, tile in batch]
    assert len(batches) == 3
    assert len(set(visited)) == 9
    assert visited != sorted(visited)
    assert list(Order(Draws(None, 10), epoch=1, seed=1, batch=3)) != batches


def test_resumed_epoch_draws_its_remaining_tiles() -> None:
    whole = list(Order(Draws(None, 20), epoch=4, seed=1, batch=4))
    assert list(Order(Draws(None, 20), epoch=4, seed=1, batch=4, done=3)) == whole[3:]


def test_processes_and_parts_share_a_batch_without_loss() -> None:
    (whole,) = Order(Draws(None, 8), epoch=0, seed=1, batch=8)
    shares = [
        Order(Draws(None, 8), epoch=0, seed=1, batch=8, share=Share(parts=2, rank=rank, ranks=2))
        for rank in range(2)
    ]
    pieces = [piece for share in shares for piece in share]
    assert [len(piece) for piece in pieces] == [2, 2, 2, 2]
    assert sorted(address for piece in pieces for address in piece) == sorted(whole)


def test_first_views_come_first() -> None:
    pairs = [torch.full((2, 1, 1, 3), 10 * tile, dtype=torch.uint8) for tile in range(3)]
    for pair in pairs:
        pair[1] += 1
    assert first_views_first(pairs)[:, 0, 0, 0].tolist() == [0, 10, 20, 1, 11, 21]


def test_no_stain_jitter_changes_nothing() -> None:
    image = torch.rand(3, 9, 7, generator=torch.Generator().manual_seed(0)) * 0.9 + 0.05
    torch.testing.assert_close(StainJitter(0.0)(image), image, rtol=1e-4, atol=1e-5)


def test_stain_jitter_leaves_white_nearly_white_and_changes_stained_tissue() -> None:
    torch.manual_seed(0)
    white, stained = (
        torch.ones(3, 4, 4),
        torch.tensor([0.6, 0.3, 0.6]).view(3, 1, 1).expand(3, 4, 4),
    )
    jitter = StainJitter(0.2)
    pale = torch.stack([jitter(white) for _ in range(50)])
    tissue = torch.stack([jitter(stained) for _ in range(50)])
    assert pale.min() > 0.88
    assert tissue.std(dim=0).min() > 0.02


def test_stain_jitter_scales_the_density_along_the_stain(monkeypatch: pytest.MonkeyPatch) -> None:
    # All draws 0.75: scale by 1 + 0.5 · strength, shift by 0.1 · strength.
    monkeypatch.setattr(torch, "rand", lambda *shape: torch.full(shape, 0.75))
    stain = torch.tensor([0.65, 0.70, 0.29])
    haematoxylin = torch.exp(-stain / stain.norm() * 0.8).view(3, 1, 1)
    changed = -torch.log(StainJitter(0.4)(haematoxylin)).flatten()
    others = torch.tensor([[0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
    added = (others / others.norm(dim=1, keepdim=True)).sum(dim=0) * 0.04
    torch.testing.assert_close(changed, stain / stain.norm() * (0.8 * 1.2 + 0.04) + added)


def test_quarter_turns_reach_all_four_ways() -> None:
    image = torch.arange(4.0).view(1, 2, 2)
    torch.manual_seed(0)
    seen = {tuple(QuarterTurn()(image).flatten().tolist()) for _ in range(40)}
    assert seen == {(0, 1, 2, 3), (1, 3, 0, 2), (3, 2, 1, 0), (2, 0, 3, 1)}


def test_a_crop_keeps_the_magnification_of_inference() -> None:
    """A ramp rises by one a pixel: how steep it is in the crop tells the zoom."""
    ramp = torch.arange(256.0).expand(3, 256, 256)
    torch.manual_seed(0)
    crop = TissueCrop(48, tile_px=128, zoom=1.25)
    slopes = np.array(
        [float((cut := crop(ramp))[0, 24, 40] - cut[0, 24, 8]) / 32 for _ in range(200)]
    )
    # 256 px become 128: two pixels of the tile are one of the crop, give or take the zoom.
    assert slopes.min() == pytest.approx(2 / 1.25, rel=0.05)
    assert slopes.max() == pytest.approx(2 * 1.25, rel=0.05)


def test_a_crop_larger_than_the_tile_is_the_whole_tile() -> None:
    image = torch.rand(3, 60, 80)
    assert TissueCrop(96, tile_px=96, zoom=1.0)(image).shape == (3, 96, 96)


def test_seeds_of_neighbours_share_nothing() -> None:
    seeds = {mix_seed(a, b, c) for a in range(10) for b in range(10) for c in range(10)}
    assert len(seeds) == 1000
    assert mix_seed(1, 2) != mix_seed(2, 1)
    ones = np.mean([bin(mix_seed(0, number)).count("1") for number in range(1000)])
    assert ones == pytest.approx(31.5, abs=0.5)
