"""The networks of a run at its first step: where they start, and what of them stays as it is."""

import torch
from torch.nn import functional

from histo_index.encoder.config import STAGES
from histo_index.encoder.folder import load_encoder
from histo_index.encoder.runtime.reference import Trunk
from histo_index.encoder.training.byol import Byol, start_from, use_matrix_products
from histo_index.encoder.training.config import TrainConfig
from histo_index.encoder.training.distributed import Team, synchronise


def make_networks(config: TrainConfig, team: Team) -> Byol:
    """Make the networks of a run; the same on every process.

    Raises:
        MismatchError: the encoder to start from does not fit, see `start_from`.
        IndexFormatError: it is damaged.
    """
    torch.manual_seed(config.seed)
    byol = Byol(config.encoder, hidden=config.recipe.hidden, size=config.recipe.projection)
    if config.init is not None:
        start_from(byol, load_encoder(config.init), config.encoder)
    byol.update_target(0.0)  # the target starts as a copy
    freeze_stages(byol.online.trunk, config.recipe.frozen_stages)
    if config.recipe.is_norm_fixed:
        fix_norms(byol)
    if team.device.type == "cpu":
        use_matrix_products(byol)
    synchronise(byol, team)
    return byol


class _FixedNorm(torch.nn.BatchNorm2d):
    """A batch norm that keeps the statistics it started with."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Normalise [B, C, H, W] by the stored statistics, in any mode."""
        return functional.batch_norm(
            images, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )


def fix_norms(network: torch.nn.Module) -> None:
    """Keep the statistics of all norms of feature maps; weights and their names stay."""
    for module in network.modules():
        if type(module) is torch.nn.BatchNorm2d:
            module.__class__ = _FixedNorm


def freeze_stages(trunk: Trunk, stages: int) -> None:
    """Keep the weights of the first layers: the stem and this many stages; none if 0."""
    parts = ["conv1", "bn1", *(f"layer{stage}" for stage in range(1, STAGES + 1))]
    for part in parts[: stages + 2] if stages else ():
        trunk.network.get_submodule(part).requires_grad_(requires_grad=False)
