"""Networks of Hugging Face's transformers; none of their own code is run."""

from collections.abc import Mapping
from math import isqrt
from typing import Any

import torch

from histo_index.encoder.runtime.foreign.extras import load_extra
from histo_index.encoder.runtime.foreign.features import Features, parse_stages
from histo_index.errors import InputError
from histo_index.wording import printable


class TransformersBackbone:
    """A vision network of transformers without its classifier."""

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        """Build it with random weights.

        Args:
            arguments: the `config.json` of the network.

        Raises:
            InputError: transformers is not installed, or has no such network.
        """
        transformers = load_extra("transformers", "hf")
        kind = arguments.get("model_type", "")
        try:
            options = {key: value for key, value in arguments.items() if key != "model_type"}
            config = transformers.AutoConfig.for_model(kind, **options)
            network: Any = transformers.AutoModel.from_config(config, trust_remote_code=False)
        except (TypeError, ValueError, KeyError, AttributeError, RuntimeError) as error:
            raise InputError(
                f"transformers {transformers.__version__} cannot build {printable(str(kind))} from "
                "its config.json; networks that bring code of their own are not supported"
            ) from error
        if any(True for _ in getattr(network, "pooler", torch.nn.Identity()).parameters()):
            network.pooler = None  # often untrained, and no part of the features
        self.network: torch.nn.Module = network
        self._stages = int(getattr(config, "num_hidden_layers", 0) or len(config.depths))
        self._patch = getattr(config, "patch_size", None)
        has_class = hasattr(getattr(network, "embeddings", None), "cls_token")
        self.prefix = int(has_class) + int(getattr(config, "num_register_tokens", 0) or 0)

    def last(self, pixels: torch.Tensor) -> torch.Tensor:
        """Compute the last features, tokens [B, N, C] or a map [B, C, H, W]."""
        x: torch.Tensor = self.network(pixel_values=pixels).last_hidden_state
        return x

    def maps(self, pixels: torch.Tensor, features: Features) -> list[torch.Tensor]:
        """Compute the maps [B, C, H, W] of stages, or of transformer blocks."""
        numbers = parse_stages(features, stages=self._stages)
        found = self.network(pixel_values=pixels, output_hidden_states=True).hidden_states
        return [self._as_map(found[number]) for number in numbers]

    def _as_map(self, x: torch.Tensor) -> torch.Tensor:
        if x.dim() == 4:
            return x
        tokens = x[:, self.prefix :].transpose(1, 2)  # [B, C, H × W]
        side = isqrt(tokens.shape[2])
        return tokens.reshape(*tokens.shape[:2], side, side)
