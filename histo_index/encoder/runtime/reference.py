"""The ResNeXt trunks with their poolings, and the reference runtime: torch, float32, eager.

All faster runtimes are tested against this file.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from histo_index.arrays import Pixels
from histo_index.encoder.config import (
    ARCHITECTURES,
    MEAN,
    POOLED_STAGES,
    PROJECTION_HIDDEN,
    PROJECTION_PREFIX,
    PROJECTION_SIZE,
    SECOND,
    SECOND_CHANNELS,
    SECOND_PREFIX,
    STAGES,
    has_projection,
    projection_inputs,
    unused_stages,
)
from histo_index.encoder.covariance_sketch import draw_sketch
from histo_index.encoder.decode.preprocessing import Preprocessing
from histo_index.encoder.folder import EncoderFolder, used_weights
from histo_index.encoder.runtime.resnet import ResNet
from histo_index.encoder.runtime.second.layers import second_shapes
from histo_index.encoder.runtime.second.network import SecondNetwork, pool_maps
from histo_index.encoder.runtime.untrained import (
    compare_shapes,
    projection_shapes,
    weight_shapes,
)
from histo_index.encoder.weights_file import Weights
from histo_index.errors import MismatchError

# Weights that are not those of the residual network.
_OUTSIDE_NETWORK: Final = (PROJECTION_PREFIX, SECOND_PREFIX)


class Trunk(torch.nn.Module):
    """A residual network up to the last pooled stage, with normalisation and pooling.

    See `EncoderConfig` for the poolings.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self, architecture: str, spec: Preprocessing, *, pooling: str = MEAN, is_drawn: bool = True
    ) -> None:
        super().__init__()
        self._pooling = pooling
        self.network = ResNet(architecture) if is_drawn else _undrawn(architecture)
        for part in unused_stages(pooling):
            setattr(self.network, part, torch.nn.Identity())
        self.register_buffer("mean", _channels(spec.mean), persistent=False)
        self.register_buffer("std", _channels(spec.std), persistent=False)
        self._sketches = torch.nn.ModuleDict()
        if pooling != MEAN:
            for stage in POOLED_STAGES[pooling]:
                channels = ARCHITECTURES[architecture] >> (STAGES - stage)
                self._sketches[str(stage)] = CovarianceSketch(channels)
        if has_projection(pooling):
            self.projection = Projection(projection_inputs(architecture))
        if pooling == SECOND:
            self.second = SecondNetwork()
            self._sketches["second"] = CovarianceSketch(SECOND_CHANNELS)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Encode uint8 RGB [B, H, W, 3] to float [B, D], not normalised to unit length."""
        # Normalised in float32 at any precision of the network: a rounded mean shifts every pixel.
        pixels = (images.permute(0, 3, 1, 2) - self.mean) / self.std  # [B, 3, H, W]
        pixels = pixels.to(self.network.conv1.weight.dtype)
        embeddings: torch.Tensor = (
            self.network(pixels) if self._pooling == MEAN else self._pool_stages(pixels)
        )
        if self._pooling == SECOND:
            maps = self.second(images.permute(0, 3, 1, 2).float())
            embeddings = torch.cat([embeddings, pool_maps(maps, self._sketches["second"])], dim=1)
        return embeddings

    def _pool_stages(self, pixels: torch.Tensor) -> torch.Tensor:
        """Concatenate the covariance sketches of the pooled stages, each of unit length.

        Covariances over a tile describe its texture; a mean describes only how much of each feature
        there is. The learned projection of both, if any, follows; it is as long as all of them.
        """
        network, stages = self.network, POOLED_STAGES[self._pooling]
        x = network.stem(pixels)
        parts = []
        for stage in range(1, stages[-1] + 1):
            x = network.get_submodule(f"layer{stage}")(x)
            if stage in stages:
                centred = x.float() - x.float().mean(dim=(2, 3), keepdim=True)
                sketch = self._sketches[str(stage)](centred)
                parts.append(torch.nn.functional.normalize(sketch, dim=1))
        covariances = torch.cat(parts, dim=1)
        if not has_projection(self._pooling):
            return covariances
        mean = torch.nn.functional.normalize(x.float().mean(dim=(2, 3)), dim=1)
        projected = self.projection(torch.cat([covariances, mean], dim=1))
        return torch.cat([covariances, len(parts) ** 0.5 * projected], dim=1)


class Projection(torch.nn.Module):
    """The learned projection: batch norm, linear, GELU, linear, unit length."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(inputs)
        self.hidden = torch.nn.Linear(inputs, PROJECTION_HIDDEN)
        self.output = torch.nn.Linear(PROJECTION_HIDDEN, PROJECTION_SIZE)

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        """Project float32 [B, inputs] to float32 [B, PROJECTION_SIZE]."""
        # In float32 also where a training run computes in bfloat16.
        with torch.autocast(pooled.device.type, enabled=False):
            hidden = torch.nn.functional.gelu(self.hidden(self.norm(pooled)))
            return torch.nn.functional.normalize(self.output(hidden), dim=1)


class CovarianceSketch(torch.nn.Module):
    """Random sums of the covariances of C channels, see `covariance_sketch`."""

    sums: torch.Tensor
    order: torch.Tensor
    signs: torch.Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        for name, part in vars(draw_sketch(channels)).items():
            self.register_buffer(name, torch.tensor(part), persistent=False)

    def forward(self, centred: torch.Tensor) -> torch.Tensor:
        """Sketch the covariances of features [B, C, H, W] less their mean.

        Returns:
            float32 [B, SKETCH_SIZE], times H × W.
        """
        # In float32 also where a training run computes in bfloat16.
        with torch.autocast(centred.device.type, enabled=False):
            summed = torch.einsum("bchw,cs->bshw", centred, self.sums).flatten(2)  # [B, S, H × W]
            products = summed @ summed.transpose(1, 2)  # [B, S, S]
        return (products.flatten(1)[:, self.order] * self.signs).sum(dim=2)


class ReferenceRuntime:
    """Torch, float32, eager, one image at a time: slow and obvious."""

    precision: Final = "float32"
    device: Final = "cpu"
    name: Final = f"torch {torch.__version__}"
    batch: Final = 1
    parallel: Final = 1

    def __init__(self, encoder: EncoderFolder) -> None:
        self._trunk = load_network(encoder)

    @torch.inference_mode()
    def embed(self, images: Pixels) -> npt.NDArray[np.float32]:
        """Encode uint8 RGB [B, S, S, 3] to float32 [B, D]."""
        embeddings: npt.NDArray[np.float32] = self._trunk(torch.from_numpy(images)).numpy()
        return embeddings


def load_network(encoder: EncoderFolder) -> torch.nn.Module:
    """Build the network of an encoder, our own or a foreign one, ready for inference.

    It encodes uint8 RGB [B, H, W, 3] to float [B, D]; `network` in it is the part with weights.

    Raises:
        InputError: the library of a foreign network is not installed.
        MismatchError: the weights do not fit the architecture.
    """
    if encoder.config.foreign is None:
        return load_trunk(encoder)
    from histo_index.encoder.runtime.foreign.torch_network import load_foreign

    return load_foreign(encoder.config, encoder.weights)


def load_trunk(encoder: EncoderFolder) -> Trunk:
    """Build the network of an encoder and fill in its weights, ready for inference.

    Raises:
        MismatchError: the weights do not fit the architecture.
    """
    config = encoder.config
    trunk = Trunk(config.architecture, config.preprocessing, pooling=config.pooling, is_drawn=False)
    weights = used_weights(encoder.weights, config.pooling)
    shapes = used_weights(
        weight_shapes(config.architecture)
        | projection_shapes(config.architecture)
        | second_shapes(),
        config.pooling,
    )
    differences = compare_shapes(weights, shapes)
    if differences:
        raise MismatchError(
            f"{encoder.path}: weights do not belong to {encoder.config.architecture}: "
            f"{differences}; import the checkpoint again with its own --arch"
        )
    fill_in(trunk, weights)
    return trunk.eval()


def fill_in(trunk: Trunk, weights: Weights) -> None:
    """Give a trunk these weights, named as `extract_weights` names them; others stay."""
    tensors = {
        name if name.startswith(_OUTSIDE_NETWORK) else f"network.{name}": torch.from_numpy(array)
        for name, array in weights.items()
    }
    # Not strict, because the batch counts of the norms are not stored.
    trunk.load_state_dict(tensors, strict=False)


def extract_weights(trunk: Trunk) -> Weights:
    """Return parameters and statistics: by torchvision name, other parts prefixed."""
    return {
        name.removeprefix("network."): tensor.detach().cpu().numpy()
        for name, tensor in trunk.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


def _undrawn(architecture: str) -> ResNet:
    """Build a network to fill in: drawing weights takes longer than reading them."""
    with torch.device("meta"):
        network = ResNet(architecture)
    network.to_empty(device="cpu")
    for name, counts in network.named_buffers():
        if name.endswith("num_batches_tracked"):
            counts.zero_()
    return network


def _channels(values: tuple[float, float, float]) -> torch.Tensor:
    return torch.tensor(values).view(1, 3, 1, 1) * 255.0
