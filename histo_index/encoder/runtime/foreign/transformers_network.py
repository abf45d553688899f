"""Networks of Hugging Face's transformers; none of their own code is run."""

from collections.abc import Mapping
from math import isqrt
from typing import Any, Final

import torch

from histo_index.encoder.foreign import Features, load_extra, parse_stages
from histo_index.errors import InputError
from histo_index.wording import printable

# No part of the features, and often untrained.
_UNUSED: Final = ("pooler.", "classifier.", "lm_head.", "decoder.")


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
        self.network: torch.nn.Module = network
        self._config, self._library = config, transformers
        self._stages = int(getattr(config, "num_hidden_layers", 0) or len(config.depths))
        self._patch = getattr(config, "patch_size", None)
        has_class = hasattr(getattr(network, "embeddings", None), "cls_token")
        self.prefix = int(has_class) + int(getattr(config, "num_register_tokens", 0) or 0)

    def fill(self, weights: dict[str, torch.Tensor]) -> str | None:
        """Load the weights by the library, which also knows names of its earlier releases."""
        noise = self._library.utils.logging
        before = noise.get_verbosity()
        noise.set_verbosity_error()
        noise.disable_progress_bar()
        try:
            kind: Any = type(self.network)
            network, found = kind.from_pretrained(
                None,
                config=self._config,
                state_dict=weights,
                dtype=torch.float32,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
        finally:
            noise.set_verbosity(before)
            noise.enable_progress_bar()
        self.network = network
        return _differences(found)

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


def _differences(found: Mapping[str, Any]) -> str | None:
    """Describe what is missing, unknown or of another shape, without poolers and classifiers."""
    missing = sorted(name for name in found["missing_keys"] if not name.startswith(_UNUSED))
    unknown = sorted(name for name in found["unexpected_keys"] if not name.startswith(_UNUSED))
    wrong = [
        f"{name} {list(first)} for {list(second)}"
        for name, first, second in sorted(found["mismatched_keys"])
    ]
    if not (missing or unknown or wrong):
        return None
    return (
        f"{len(missing)} missing {missing[:1]}, {len(unknown)} unknown {unknown[:1]}, "
        f"{len(wrong)} of another shape {wrong[:1]}"
    )
