"""The colours of tiles, and views in the colours of another tile."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import torch

from histo_index.arrays import Pixels
from histo_index.encoder.training.batches.order import Draws

# Darker than the darkest of 8 bits, so that black has a finite density.
_DARKEST: Final = 1 / 255
# The spread of an empty tile is not scaled up to that of tissue.
_FLATTEST: Final = 0.02
# The least share of the other tile's colours in a view that crosses.
_LEAST_CROSSED: Final = 0.3


@dataclass(frozen=True, kw_only=True)
class Colours:
    """The colours of tiles: mean and spread of optical density (natural logarithm).

    Attributes:
        means: float32 [N, 3].
        spreads: float32 [N, 3], standard deviations.
    """

    means: torch.Tensor
    spreads: torch.Tensor

    @classmethod
    def of(cls, tile: Pixels) -> Self:
        """Measure one tile, uint8 RGB [H, W, 3], on every eighth pixel of every eighth row."""
        density = optical_density(torch.tensor(tile[::8, ::8]).flatten(0, 1) / 255)  # [P, 3]
        return cls(
            means=density.mean(dim=0, keepdim=True), spreads=density.std(dim=0, keepdim=True)
        )

    @classmethod
    def join(cls, parts: "Sequence[Colours]") -> Self:
        """Join the colours of tiles that were measured apart."""
        return cls(
            means=torch.cat([part.means for part in parts]),
            spreads=torch.cat([part.spreads for part in parts]),
        )

    def transfer(self, image: torch.Tensor, tile: int, other: int, share: float) -> torch.Tensor:
        """Give a tile part of the colours of another one.

        Args:
            image: uint8 [3, H, W], the tile.
            tile: number of the tile.
            other: number of the other one.
            share: 0 leaves the tile as it is; 1 gives it mean and spread of the other one.

        Source: Reinhard et al. (2001), Color transfer between images; in optical density, where
        stains add up.
        """
        mean = torch.lerp(self.means[tile], self.means[other], share)
        spread = torch.lerp(self.spreads[tile], self.spreads[other], share)
        gain = (spread / self.spreads[tile].clamp(min=_FLATTEST))[:, None, None]
        shift = mean[:, None, None] - self.means[tile][:, None, None] * gain
        density = optical_density(image / 255) * gain + shift
        return (torch.exp(-density) * 255).clamp(0, 255).round().to(torch.uint8)


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """Views that get part of the colours of another tile.

    Attributes:
        colours: of all tiles.
        draws: which other tile.
        share: of the views.
    """

    colours: Colours
    draws: Draws
    share: float

    def apply(self, image: torch.Tensor, tile: int) -> torch.Tensor:
        """Change uint8 [3, H, W], with random numbers of torch's generator."""
        chance, position, amount = torch.rand(3).tolist()
        if chance >= self.share:
            return image
        other = self.draws.at(position)
        return self.colours.transfer(
            image, tile, other, _LEAST_CROSSED + (1 - _LEAST_CROSSED) * amount
        )


def optical_density(image: torch.Tensor) -> torch.Tensor:
    """Compute the optical density (natural logarithm) of light from 0 to 1."""
    return -torch.log(image.clamp(min=_DARKEST))
