"""Residual networks with the parameters, names and untrained values that torchvision's have.

Importing torchvision costs more than importing torch.

Sources: He et al. (2016), Deep residual learning for image recognition; Xie et al. (2017),
Aggregated residual transformations for deep neural networks.
"""

from typing import Final

import torch
from torch import nn

from histo_index.encoder.runtime.untrained import NETWORKS, Architecture

# Classes of ImageNet, for which torchvision's networks have a layer.
_CLASSES: Final = 1000


class ResNet(nn.Module):
    """A residual network up to the mean of its last stage."""

    def __init__(self, architecture: str) -> None:
        super().__init__()
        network = NETWORKS[architecture]
        self._precision: torch.dtype | None = None
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels = 64
        for stage, blocks in enumerate(network.blocks):
            layers = nn.Sequential()
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                layers.append(Block(network, channels, 64 << stage, stride=stride))
                channels = (64 << stage) * network.expansion
            self.add_module(f"layer{stage + 1}", layers)
        # Not kept; drawn so that a seed means the same weights as in torchvision.
        nn.Linear(channels, _CLASSES)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Encode normalised pixels [B, 3, H, W] to [B, channels of the last stage]."""
        x = self.stem(pixels)
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
        return nn.functional.adaptive_avg_pool2d(x, 1).flatten(1)

    def stem(self, pixels: torch.Tensor) -> torch.Tensor:
        """Compute the features before the first stage: [B, 64, H / 4, W / 4]."""
        features: torch.Tensor = self.maxpool(self.relu(self.bn1(self.conv1(pixels))))
        return features if self._precision is None else features.to(self._precision)

    def round_weights(self, kind: torch.dtype) -> None:
        """Compute in a precision; the first convolution and its norm stay in float32.

        Rounded pixels are wrong by up to half a grey level, which is much in a pale tile, and all
        later layers see what a rounded first kernel makes of them.
        """
        self._precision = kind
        self.to(kind)
        for layer in (self.conv1, self.bn1):
            layer.to(torch.float32)


class Block(nn.Module):
    """Two 3 × 3 convolutions, or one between two of one pixel (a bottleneck), and a shortcut."""

    def __init__(self, network: Architecture, channels: int, planes: int, *, stride: int) -> None:
        super().__init__()
        outputs, inner = planes * network.expansion, planes * network.width
        downsample = None
        if stride != 1 or channels != outputs:
            downsample = nn.Sequential(
                nn.Conv2d(channels, outputs, 1, stride=stride, bias=False),
                nn.BatchNorm2d(outputs),
            )
        if network.width:
            self._add(1, nn.Conv2d(channels, inner, 1, bias=False))
            self._add(2, _wide(inner, inner, stride=stride, groups=network.groups))
            self._add(3, nn.Conv2d(inner, outputs, 1, bias=False))
        else:
            self._add(1, _wide(channels, planes, stride=stride))
            self._add(2, _wide(planes, planes))
        self.depth = 3 if network.width else 2
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        """The norm before the shortcut is added."""
        norm = self.get_submodule(f"bn{self.depth}")
        assert isinstance(norm, nn.BatchNorm2d)
        return norm

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the features of the next block, [B, outputs, H / stride, W / stride]."""
        shortcut = x if self.downsample is None else self.downsample(x)
        for number in range(1, self.depth + 1):
            x = self.get_submodule(f"bn{number}")(self.get_submodule(f"conv{number}")(x))
            if number < self.depth:
                x = self.relu(x)
        x += shortcut
        added: torch.Tensor = self.relu(x)
        return added

    def _add(self, number: int, convolution: nn.Conv2d) -> None:
        self.add_module(f"conv{number}", convolution)
        self.add_module(f"bn{number}", nn.BatchNorm2d(convolution.out_channels))


def _wide(inputs: int, outputs: int, *, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, groups=groups, bias=False)
