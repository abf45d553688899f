"""A network that a function of the user builds: the only code of others that is ever run."""

import os
from collections.abc import Mapping
from typing import Any, Final

import torch

from histo_index.encoder.foreign import ALLOW_CODE, Features
from histo_index.encoder.runtime.untrained import compare_shapes
from histo_index.errors import InputError

_ALLOWED: Final = "1"


class CustomBackbone:
    """The module that the function returns: float [B, 3, S, S] to features."""

    def __init__(self, name: str, arguments: Mapping[str, Any]) -> None:
        """Run the code that is stored with the encoder.

        Args:
            name: of the function.
            arguments: the `code` of its file.

        Raises:
            InputError: running code is not allowed, or the function builds no network.
        """
        if os.environ.get(ALLOW_CODE) != _ALLOWED:
            raise InputError(
                f"this encoder is code, function {name} in its config.json, and runs with your "
                "rights; read it, then pass --allow-code before the command: `histo-index "
                f"--allow-code …`, or set {ALLOW_CODE}={_ALLOWED}"
            )
        scope: dict[str, Any] = {"__name__": "histo_index_custom_encoder"}
        exec(compile(str(arguments["code"]), "config.json", "exec"), scope)
        network = scope[name]() if callable(scope.get(name)) else None
        if not isinstance(network, torch.nn.Module):
            raise InputError(
                f"{name}: expected a function without arguments that returns a torch.nn.Module"
            )
        self.network: torch.nn.Module = network
        self.prefix = 1

    def fill(self, weights: dict[str, torch.Tensor]) -> str | None:
        """Load the weights; describe how names and shapes differ from those of the network."""
        state = self.network.state_dict()
        expected = {name: tuple(value.shape) for name, value in state.items()}
        if differences := compare_shapes(weights, expected):
            return differences
        self.network.load_state_dict(weights)
        return None

    def last(self, pixels: torch.Tensor) -> torch.Tensor:
        """Compute the output: an embedding [B, D], tokens [B, N, C] or a map [B, C, H, W]."""
        x: torch.Tensor = self.network(pixels)
        return x

    def maps(self, pixels: torch.Tensor, features: Features) -> list[torch.Tensor]:
        """Compute the map that the network returns; it has one stage."""
        return [self.last(pixels)]
