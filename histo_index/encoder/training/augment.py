"""Augmentation of tiles as slides vary: stain strength, orientation, crop."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import torch
from torchvision.transforms.v2 import functional as warp

from histo_index.encoder.decode.image_file import Pixels

# Optical density of haematoxylin, eosin and DAB in red, green and blue.
# Source: Ruifrok & Johnston (2001), Quantification of histochemical staining by color
# deconvolution; rows scaled to length 1 as there.
_STAINS: Final = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
# Darker than the darkest of 8 bits, so that black has a finite density.
_DARKEST: Final = 1 / 255
# The spread of an empty tile is not scaled up to that of tissue.
_FLATTEST: Final = 0.02


class StainJitter(torch.nn.Module):
    """Scale and shift the amount of each stain.

    Source: Tellez et al. (2018), Whole-slide mitosis detection in H&E breast histology using PHH3
    as a reference to train distilled stain-invariant convolutional networks, section III-C.
    """

    def __init__(self, strength: float) -> None:
        """Set the strength.

        Args:
            strength: each stain is scaled by 1 ± strength and shifted by ± strength / 5 of optical
                density (natural logarithm), both uniformly distributed.
        """
        super().__init__()
        self.strength = strength
        stains = torch.tensor(_STAINS)
        self._stains = stains / stains.norm(dim=1, keepdim=True)
        self._unmixing = torch.linalg.inv(self._stains)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Change float RGB [3, H, W], 0 to 1, by random scales and shifts."""
        scales, shifts = (torch.rand(2, 3) * 2 - 1) * self.strength
        density = _density(image).flatten(1).T  # [H·W, 3]
        amounts = density @ self._unmixing * (1 + scales) + shifts / 5
        pixels = torch.exp(-(amounts @ self._stains))
        return pixels.T.reshape(image.shape).clamp(0, 1)


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
        density = _density(torch.tensor(tile[::8, ::8]).flatten(0, 1) / 255)  # [P, 3]
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
        density = _density(image / 255) * gain + shift
        return (torch.exp(-density) * 255).clamp(0, 255).round().to(torch.uint8)


def _density(image: torch.Tensor) -> torch.Tensor:
    return -torch.log(image.clamp(min=_DARKEST))


class QuarterTurn(torch.nn.Module):
    """Turn by a random multiple of 90°; with flips these are all eight orientations."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Turn [..., H, W]."""
        return torch.rot90(image, int(torch.randint(4, ())), (-2, -1))


class TissueCrop(torch.nn.Module):
    """Crop a square whose magnification stays near that of inference.

    In inference the shorter side of a tile becomes `tile_px`. Here it becomes `tile_px` times a
    random zoom (uniform in its logarithm), and a square of `crop_px` is cropped from it.
    Magnification has meaning in histology; a crop of 8 to 100 % of the area, as for photographs,
    would hide it.
    """

    def __init__(self, crop_px: int, *, tile_px: int, zoom: float) -> None:
        super().__init__()
        self.crop_px = crop_px
        self.tile_px = tile_px
        self.zoom = zoom

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Crop and resize [3, H, W] to [3, crop_px, crop_px] at a random zoom and position."""
        height, width = image.shape[-2:]
        across, down, zoom = torch.rand(3).tolist()
        scale = self.tile_px / min(height, width) * self.zoom ** (2 * zoom - 1)
        side = min(math.floor(self.crop_px / scale), height, width)
        cut: torch.Tensor = warp.resized_crop(
            image,
            top=round(down * (height - side)),
            left=round(across * (width - side)),
            height=side,
            width=side,
            size=[self.crop_px, self.crop_px],
            antialias=True,
        )
        return cut
