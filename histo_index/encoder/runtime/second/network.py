"""The second network in torch: the reference that its OpenVINO graph is tested against."""

import torch
from torch import nn
from torch.nn import functional

from histo_index.encoder.config import SECOND_PART_LENGTH
from histo_index.encoder.runtime.second.layers import BLOCKS, MOST, Block, Layer


class SecondNetwork(nn.Module):
    """The second network; see `layers`."""

    def __init__(self) -> None:
        super().__init__()
        for layer in (layer for block in BLOCKS for layer in block.layers):
            self._add(layer)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Predict the feature maps of the teacher.

        Args:
            pixels: float32 RGB [B, 3, H, W], 0 to 255.

        Returns:
            float32 [B, SECOND_CHANNELS, H / 16, W / 16].
        """
        return self.maps(pixels)[-1]

    def maps(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        """Return what each block gives, the first layer first; for the pixels see `forward`."""
        x, found = pixels / (255 / 2) - 1, []
        for block in BLOCKS:
            x = self.run_block(block, x)
            found.append(x)
        return found

    def run_block(self, block: Block, x: torch.Tensor) -> torch.Tensor:
        """Compute one block."""
        y = x
        for layer in block.layers:
            before, after = layer.padding
            y = self.get_submodule(layer.name)(functional.pad(y, (before, after) * 2))
            if layer.is_clipped:
                y = y.clamp(0, MOST)
        return x + y if block.has_shortcut else y

    def _add(self, layer: Layer) -> None:
        parent: nn.Module = self
        *folders, name = layer.name.split(".")
        for folder in folders:
            if folder not in dict(parent.named_children()):
                parent.add_module(folder, nn.Module())
            parent = parent.get_submodule(folder)
        groups = layer.inputs if layer.is_depthwise else 1
        convolution = nn.Conv2d(
            layer.inputs, layer.outputs, layer.kernel, stride=layer.stride, groups=groups
        )
        parent.add_module(name, convolution)


def pool_maps(maps: torch.Tensor, sketch: nn.Module) -> torch.Tensor:
    """Pool maps to their mean and a sketch of their covariances, each SECOND_PART_LENGTH long.

    Args:
        maps: float32 [B, SECOND_CHANNELS, H, W].
        sketch: a `CovarianceSketch` of SECOND_CHANNELS.

    Returns:
        float32 [B, SECOND_CHANNELS + SKETCH_SIZE].
    """
    mean = maps.mean(dim=(2, 3), keepdim=True)
    parts = mean.flatten(1), sketch(maps - mean)
    return torch.cat([SECOND_PART_LENGTH * functional.normalize(part) for part in parts], dim=1)
