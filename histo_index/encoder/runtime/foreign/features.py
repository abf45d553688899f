"""Pool the features of a foreign network to an embedding, in torch."""

from collections.abc import Sequence

import torch

from histo_index.encoder.foreign import CLS, CLS_MEAN, MEAN, OUTPUT
from histo_index.encoder.runtime.reference import CovarianceSketch
from histo_index.errors import InputError


def pool_features(x: torch.Tensor, kind: str, *, prefix: int) -> torch.Tensor:
    """Pool features to an embedding.

    Args:
        x: float [B, N, C] of tokens, [B, C, H, W] of a map, or [B, D].
        kind: `cls`, `mean`, `cls+mean` or `output`.
        prefix: tokens before those of the image: the class token and registers.

    Returns:
        float [B, D].

    Raises:
        InputError: the features have no such pooling.
    """
    shape = list(x.shape)
    if kind == OUTPUT and x.dim() == 4 and shape[2:] == [1, 1]:
        return x.flatten(1)
    if kind == OUTPUT and x.dim() == 2:
        return x
    if kind == MEAN and x.dim() == 4:
        return x.mean(dim=(2, 3))
    if kind != OUTPUT and x.dim() == 3:
        if kind != MEAN and prefix < 1:
            raise InputError("features cls: the network has no class token; pass mean or map:STAGE")
        parts = {CLS: [x[:, 0]], MEAN: [x[:, prefix:].mean(1)]}
        chosen = parts[CLS] + parts[MEAN] if kind == CLS_MEAN else parts[kind]
        return torch.cat(chosen, dim=1)
    raise InputError(
        f"features {kind}: the network gives {shape}; choose mean or map:… of [B, C, H, W], cls or "
        "mean of tokens [B, N, C], and the output itself of [B, D]"
    )


class MapPooling(torch.nn.Module):
    """Covariance sketches of feature maps, each of unit length, as the bundled encoder pools."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self._sketches = torch.nn.ModuleList(CovarianceSketch(count) for count in channels)

    def forward(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """Pool float [B, C, H, W] of each stage to float32 [B, 512 × stages]."""
        parts = []
        for sketch, x in zip(self._sketches, maps, strict=True):
            centred = x.float() - x.float().mean(dim=(2, 3), keepdim=True)
            parts.append(torch.nn.functional.normalize(sketch(centred), dim=1))
        return torch.cat(parts, dim=1)


def require_maps(maps: Sequence[torch.Tensor], text: str) -> None:
    """Check that features can be pooled by `map:`.

    Raises:
        InputError: one is not a map [B, C, H, W] of two pixels or more.
    """
    for x in maps:
        if x.dim() != 4 or x.shape[2] * x.shape[3] < 2:
            raise InputError(
                f"features {text}: expected a map [B, C, H, W], found {list(x.shape)}; choose "
                "another stage"
            )
