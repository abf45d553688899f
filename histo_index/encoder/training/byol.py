"""Bootstrap your own latent (BYOL): two networks, one loss, one moving average.

Source: Grill et al. (2020), Bootstrap your own latent, section 3 and appendix A.
"""

import math
from typing import Any, Final

import torch
from torch.nn import Conv2d, functional
from torch.optim.swa_utils import AveragedModel

from histo_index.encoder.config import PROJECTION_PREFIX, EncoderConfig
from histo_index.encoder.folder import EncoderFolder, used_weights
from histo_index.encoder.runtime.reference import Trunk, extract_weights, fill_in
from histo_index.encoder.runtime.resnet import Block
from histo_index.errors import MismatchError

_VIEWS: Final = 2
_ONE_PIXEL: Final = (1, 1)


class Projection(torch.nn.Module):
    """A trunk and its projector; the target is their moving average."""

    def __init__(self, encoder: EncoderConfig, *, hidden: int, size: int) -> None:
        super().__init__()
        self.trunk = Trunk(encoder.architecture, encoder.preprocessing, pooling=encoder.pooling)
        _zero_init_residuals(self.trunk)
        self.projector = perceptron(encoder.embedding_size, hidden, size)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Project uint8 RGB [B, H, W, 3] to [B, size]."""
        projected: torch.Tensor = self.projector(self.trunk(images))
        return projected


class Byol(torch.nn.Module):
    """The online network with its predictor, and the target that follows it.

    Attributes:
        online: the trained network; its trunk becomes the encoder.
        predictor: predicts the projection of the other view by the target.
        target: moving average of `online`; never receives a gradient.
    """

    def __init__(self, encoder: EncoderConfig, *, hidden: int, size: int) -> None:
        super().__init__()
        self.online = Projection(encoder, hidden=hidden, size=size)
        self.predictor = perceptron(size, hidden, size)
        self.momentum = 1.0
        self.target: AveragedModel = AveragedModel(self.online, multi_avg_fn=self._average)
        self.target.requires_grad_(requires_grad=False)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the loss of both views.

        Args:
            images: uint8 RGB [2B, H, W, 3]: the first views, then the second views in the same
                order.

        Returns:
            The symmetrised loss, a scalar from 0 to 8, see `byol_losses`; and the target's
            projections, float [2B, size].
        """
        losses, projections = self.compare(self.online.trunk(images), images)
        return losses.mean(), projections

    def compare(
        self, embeddings: torch.Tensor, images: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the loss of each tile from its embeddings by the online network.

        Args:
            embeddings: float [2B, D], of the images.
            images: see `forward`.

        Returns:
            float32 [B] from 0 to 8; and the target's projections, float [2B, size].
        """
        predictions = self.predictor(self.online.projector(embeddings))  # [2B, size]
        with torch.no_grad():
            projections = self.target(images)  # [2B, size]
        first, second = predictions.chunk(_VIEWS)
        target_first, target_second = projections.detach().chunk(_VIEWS)
        return byol_losses(first, target_second) + byol_losses(second, target_first), projections

    def update_target(self, momentum: float) -> None:
        """Move the target towards the online network: target = m · target + (1 − m) · online."""
        self.momentum = momentum
        self.target.update_parameters(self.online)

    def _average(self, averaged: Any, current: Any, count: object) -> None:
        torch._foreach_lerp_(averaged, current, 1.0 - self.momentum)


def start_from(byol: Byol, start: EncoderFolder, wanted: EncoderConfig) -> None:
    """Load the weights of an encoder into the online network.

    Args:
        byol: the networks of the encoder to train.
        start: the encoder to start from.
        wanted: the encoder to train.

    Raises:
        MismatchError: the start is a foreign network, has another architecture, or lacks a stage
            that is pooled.
    """
    if start.config.foreign is not None:
        raise MismatchError(
            f"{start.path} is a network of another library ({start.config.architecture}), which "
            "cannot be trained here; start from an encoder of `histo-index train`"
        )
    if start.config.architecture != wanted.architecture:
        raise MismatchError(
            f"{start.path} is a {start.config.architecture}, this run trains a "
            f"{wanted.architecture}; pass --arch {start.config.architecture}"
        )
    missing = extract_weights(byol.online.trunk).keys() - start.weights.keys()
    if any(not name.startswith(PROJECTION_PREFIX) for name in missing):
        raise MismatchError(
            f"{start.path} ends before the stage that a {wanted.pooling} is taken of, as this "
            "recipe does; start from another encoder, or from none"
        )
    fill_in(byol.online.trunk, used_weights(start.weights, wanted.pooling))
    # With the statistics of its norms, which a moving average leaves out.
    byol.target.module.load_state_dict(byol.online.state_dict())


def _zero_init_residuals(trunk: Trunk) -> None:
    """Start every residual block as the identity.

    Source: Goyal et al. (2017), Accurate, large minibatch SGD, section 5.1.
    """
    for module in trunk.modules():
        if isinstance(module, Block):
            torch.nn.init.zeros_(module.last_norm.weight)


def byol_losses(predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Compute the distance of predictions and targets, each scaled to unit length.

    Args:
        predictions: float [B, size].
        targets: float [B, size].

    Returns:
        2 − 2·cos of each row, float32 [B] from 0 to 4. The loss of a step is their mean, summed
        over both directions, as published.

    Source: Grill et al. (2020), equation 2.
    """
    # In float32 at any precision of the network: a rounded cosine near 1 has no gradient.
    cosines = functional.cosine_similarity(predictions.float(), targets.float(), dim=-1)
    return 2 - 2 * cosines


def momentum_at(step: int, steps: int, base: float) -> float:
    """Compute the momentum of the moving average at a step: from `base` to 1 along a cosine.

    Source: Grill et al. (2020), section 3.2.
    """
    return 1 - (1 - base) * (math.cos(math.pi * step / steps) + 1) / 2


def perceptron(inputs: int, hidden: int, outputs: int) -> torch.nn.Sequential:
    """Build a projector or predictor: linear, batch norm, ReLU, linear.

    Source: Grill et al. (2020), section 3.3.
    """
    return torch.nn.Sequential(
        torch.nn.Linear(inputs, hidden),
        torch.nn.BatchNorm1d(hidden),
        torch.nn.ReLU(inplace=True),
        torch.nn.Linear(hidden, outputs),
    )


class _OnePixelConvolution(Conv2d):
    """A convolution with a kernel of one pixel, as a matrix product: faster on a CPU."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Convolve [B, C, H, W], stored channels-last."""
        down, across = self.stride
        pixels = images[:, :, ::down, ::across].permute(0, 2, 3, 1)  # [B, H, W, C]
        mixed = torch.mm(pixels.flatten(0, 2), self.weight.flatten(1).T)
        return mixed.view(*pixels.shape[:3], -1).permute(0, 3, 1, 2)


def use_matrix_products(network: torch.nn.Module) -> None:
    """Compute one-pixel convolutions as matrix products; weights and their names stay."""
    for module in network.modules():
        if isinstance(module, Conv2d) and module.kernel_size == _ONE_PIXEL and module.bias is None:
            module.__class__ = _OnePixelConvolution
