"""Augmentation of tiles as slides vary: stain strength, orientation, crop."""

import math
from typing import Final

import torch
from torchvision.transforms.v2 import functional as warp

from histo_index.encoder.training.batches.colours import optical_density

# Optical density of haematoxylin, eosin and DAB in red, green and blue.
# Source: Ruifrok & Johnston (2001), Quantification of histochemical staining by color
# deconvolution; rows scaled to length 1 as there.
_STAINS: Final = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))


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
        density = optical_density(image).flatten(1).T  # [H·W, 3]
        amounts = density @ self._unmixing * (1 + scales) + shifts / 5
        pixels = torch.exp(-(amounts @ self._stains))
        return pixels.T.reshape(image.shape).clamp(0, 1)


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
