"""Networks of timm."""

from collections.abc import Mapping
from typing import Any, Final

import torch

from histo_index.encoder.foreign import Features, load_extra, parse_stages
from histo_index.encoder.runtime.untrained import compare_shapes
from histo_index.errors import InputError
from histo_index.wording import printable

# Layers that model cards pass as classes, by name; no other class can be named.
_LAYERS: Final = {"mlp_layer": ("SwiGLUPacked", "SwiGLU", "GluMlp", "Mlp")}
_COUNTS: Final = "num_batches_tracked"
_ACTIVATIONS: Final = {"silu": torch.nn.SiLU, "gelu": torch.nn.GELU, "relu": torch.nn.ReLU}


class TimmBackbone:
    """A network of timm without its classifier."""

    def __init__(self, name: str, arguments: Mapping[str, Any]) -> None:
        """Build it with random weights.

        Raises:
            InputError: timm is not installed, or has no such network.
        """
        timm = require_network(name)
        options = {key: _as_class(key, value) for key, value in arguments.items()}
        try:
            self.network: torch.nn.Module = timm.create_model(
                name, **{"num_classes": 0, **options}, pretrained=False
            )
        except (TypeError, ValueError, KeyError, AssertionError, RuntimeError) as error:
            reason = printable(" ".join(str(error).split()))[:300] or type(error).__name__
            raise InputError(
                f"timm cannot build {printable(name)} with {dict(arguments)} ({reason}); "
                "correct --arguments"
            ) from error
        self.prefix = int(getattr(self.network, "num_prefix_tokens", 0))

    def fill(self, weights: dict[str, torch.Tensor]) -> str | None:
        """Load the weights; describe how names and shapes differ from those of the network."""
        expected = {
            name: tuple(value.shape)
            for name, value in self.network.state_dict().items()
            if not name.endswith(_COUNTS)
        }
        used = {name: value for name, value in weights.items() if not name.endswith(_COUNTS)}
        if differences := compare_shapes(used, expected):
            return differences
        # Not strict, because the batch counts of the norms are left out.
        self.network.load_state_dict(used, strict=False, assign=True)
        return None

    def last(self, pixels: torch.Tensor) -> torch.Tensor:
        """Compute the last features, tokens [B, N, C] or a map [B, C, H, W]."""
        x: torch.Tensor = self.network.forward_features(pixels)  # type: ignore[operator]
        # Some networks of windows keep channels last.
        is_last = x.dim() == 4 and getattr(self.network, "output_fmt", "NCHW") == "NHWC"
        return x.permute(0, 3, 1, 2) if is_last else x

    def maps(self, pixels: torch.Tensor, features: Features) -> list[torch.Tensor]:
        """Compute the maps [B, C, H, W] of stages, or of transformer blocks."""
        if not hasattr(self.network, "forward_intermediates"):
            raise InputError("features map: this network of timm has no stages; pass cls or mean")
        info = getattr(self.network, "feature_info", ())
        numbers = parse_stages(features, stages=len(info))
        maps: list[torch.Tensor] = self.network.forward_intermediates(  # type: ignore[operator]
            pixels,
            indices=[number - 1 for number in numbers],
            output_fmt="NCHW",
            intermediates_only=True,
        )
        return maps


def require_network(name: str) -> Any:
    """Return timm, which has this network.

    Raises:
        InputError: timm is not installed, or has no such network.
    """
    timm = load_extra("timm", "timm")
    if not timm.is_model(name):
        raise InputError(
            f"timm {timm.__version__} has no network {printable(name)}; "
            "see timm.list_models() for those it has"
        )
    return timm


def _as_class(key: str, value: Any) -> Any:
    """Look up a layer that is named in the arguments."""
    if key == "act_layer" and value in _ACTIVATIONS:
        return _ACTIVATIONS[value]
    if key in _LAYERS and value in _LAYERS[key]:
        return getattr(load_extra("timm.layers", "timm"), value)
    return value
