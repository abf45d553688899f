"""A foreign network in torch: its own module, with normalisation and pooling around it."""

import warnings
from typing import Any, Protocol

import torch

from histo_index.encoder.config import EncoderConfig
from histo_index.encoder.decode.preprocessing import Preprocessing
from histo_index.encoder.foreign import (
    CUSTOM,
    ONNX,
    TIMM,
    TRANSFORMERS,
    Features,
    parse_features,
)
from histo_index.encoder.runtime.foreign.features import (
    MapPooling,
    pool_features,
    require_maps,
)
from histo_index.encoder.weights_file import Weights
from histo_index.errors import InputError, MismatchError


class Backbone(Protocol):
    """The network of a library, and how to read its features.

    `fill` loads the weights, or describes how they differ from what the network needs.

    Attributes:
        network: the module of the library.
        prefix: tokens before those of the image.
    """

    network: torch.nn.Module
    prefix: int

    def fill(self, weights: dict[str, torch.Tensor]) -> str | None: ...
    def last(self, pixels: torch.Tensor) -> torch.Tensor: ...
    def maps(self, pixels: torch.Tensor, features: Features) -> list[torch.Tensor]: ...


class ForeignTrunk(torch.nn.Module):
    """A foreign network with normalisation and pooling, as `Trunk` has them."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, backbone: Backbone, spec: Preprocessing, pooling: str) -> None:
        super().__init__()
        self.network = backbone.network
        self._backbone, self._features = backbone, parse_features(pooling)
        self.register_buffer("mean", _channels(spec.mean), persistent=False)
        self.register_buffer("std", _channels(spec.std), persistent=False)
        self._maps: MapPooling | None = None
        if self._features.kind == "map":
            # Only an image shows how many channels a stage has.
            with torch.inference_mode():
                maps = backbone.maps(torch.zeros(1, 3, spec.crop_px, spec.crop_px), self._features)
            require_maps(maps, pooling)
            self._maps = MapPooling([x.shape[1] for x in maps])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Encode uint8 RGB [B, H, W, 3] to float [B, D], not normalised to unit length."""
        pixels = (images.permute(0, 3, 1, 2) - self.mean) / self.std  # [B, 3, H, W]
        pixels = pixels.to(next(self.network.parameters()).dtype)
        if self._maps is not None:
            pooled: torch.Tensor = self._maps(self._backbone.maps(pixels, self._features))
            return pooled
        prefix, kind = self._backbone.prefix, self._features.kind
        return pool_features(self._backbone.last(pixels), kind, prefix=prefix)


def load_foreign(config: EncoderConfig, weights: Weights) -> ForeignTrunk:
    """Build a foreign network and fill in its weights, ready for inference.

    Raises:
        InputError: the library is not installed, or has no such network or features.
        MismatchError: the weights do not fit the network.
    """
    backbone = build_backbone(config)
    tensors = {name: torch.from_numpy(array) for name, array in weights.items()}
    if differences := backbone.fill(tensors):
        raise MismatchError(
            f"{config.architecture}: the weights are of another network: {differences}; pass the "
            "network that they were trained with, or its --recipe"
        )
    backbone.network.eval().requires_grad_(False)
    return ForeignTrunk(backbone, config.preprocessing, config.pooling).eval()


def convert_network(config: EncoderConfig, weights: Weights) -> Any:
    """Convert a foreign network to an OpenVINO model: uint8 [1, S, S, 3] in, float32 [1, D] out.

    Raises:
        InputError: the library that defines the network is not installed.
        MismatchError: the weights do not fit the network.
    """
    from histo_index.encoder.runtime.openvino_import import ov

    shape = [1, config.preprocessing.crop_px, config.preprocessing.crop_px, 3]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # tracing warns of what fixed shapes make right
        return ov.convert_model(
            load_foreign(config, weights),
            example_input=torch.zeros(shape, dtype=torch.uint8),
            input=shape,
        )


def build_backbone(config: EncoderConfig) -> Backbone:
    """Build the network by its library, with random weights.

    Raises:
        InputError: the library is not installed, or has no such network.
    """
    assert config.foreign is not None
    source, arguments = config.foreign.source, config.foreign.arguments
    name = config.architecture.partition(":")[2]
    if source == TIMM:
        from histo_index.encoder.runtime.foreign.timm_network import TimmBackbone

        backbone: Backbone = TimmBackbone(name, arguments)
        return backbone
    if source == TRANSFORMERS:
        from histo_index.encoder.runtime.foreign.transformers_network import TransformersBackbone

        return TransformersBackbone(arguments)
    if source == CUSTOM:
        from histo_index.encoder.runtime.foreign.custom_network import CustomBackbone

        return CustomBackbone(name, arguments)
    assert source == ONNX
    raise InputError(f"{config.architecture}: an ONNX network runs on a CPU; pass --device cpu")


def _channels(values: tuple[float, float, float]) -> torch.Tensor:
    return torch.tensor(values).view(1, 3, 1, 1) * 255.0
